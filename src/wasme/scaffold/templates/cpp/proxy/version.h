// Which version of the Proxy-Wasm interface the module speaks: 0_2_1, 0_2_0 or 0_1_0.
//
// 0_2_1 is for every Envoy since 1.17 (Istio 1.9, Gloo 1.6). Older ones take 0_2_0 (Istio 1.8 and 1.7) or 0_1_0 (Istio
// 1.5 and 1.6). It is chosen for all files of a project at once: -DPROXY_WASM_ABI=0_1_0 in compile_flags.txt.
#pragma once

#ifndef PROXY_WASM_ABI
#define PROXY_WASM_ABI 0_2_1
#endif

#define PROXY_JOIN_(a, b) a##b
#define PROXY_JOIN(a, b) PROXY_JOIN_(a, b)

// The version as a number that #if can compare: 10, 20 or 21.
#define PROXY_NUMBER_0_1_0 10
#define PROXY_NUMBER_0_2_0 20
#define PROXY_NUMBER_0_2_1 21
#define PROXY_ABI_NUMBER PROXY_JOIN(PROXY_NUMBER_, PROXY_WASM_ABI)

#if PROXY_ABI_NUMBER < 10
#error "PROXY_WASM_ABI must be 0_2_1, 0_2_0 or 0_1_0"
#endif

// What is small enough to be copied to each place that uses it, and what is to be there once, whatever compilers think:
// a module is read by each of Envoy's threads.
#define PROXY_INLINE __attribute__((always_inline))
#define PROXY_ONCE __attribute__((noinline))

// A function that the host calls, and one that the host has.
#define PROXY_EXPORT(name) __attribute__((export_name(name)))
#define PROXY_IMPORT(name) __attribute__((import_module("env"), import_name(name)))

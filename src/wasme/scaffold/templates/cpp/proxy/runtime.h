// What a compiler takes for granted and a C library would bring. Under wasi-libc or Emscripten it does, and there is
// nothing to do here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__wasi__) || defined(__EMSCRIPTEN__)
#define PROXY_HOSTED 1
#include <initializer_list>
#else
#define PROXY_HOSTED 0

// Compilers call these by name for copies and comparisons that the source does not spell out. Weak: of many copies,
// one in each file of a project, the linker keeps one, or none. They must not be compiled into calls of themselves.
#define PROXY_RUNTIME extern "C" __attribute__((weak, no_builtin))

PROXY_RUNTIME void* memcpy(void* __restrict to, const void* __restrict from, size_t size) {
  auto* out = static_cast<char*>(to);
  auto* in = static_cast<const char*>(from);
  while (size--) *out++ = *in++;
  return to;
}

PROXY_RUNTIME void* memmove(void* to, const void* from, size_t size) {
  auto* out = static_cast<char*>(to);
  auto* in = static_cast<const char*>(from);
  if (out < in) {
    while (size--) *out++ = *in++;
  } else {
    while (size--) out[size] = in[size];
  }
  return to;
}

PROXY_RUNTIME void* memset(void* to, int value, size_t size) {
  auto* out = static_cast<char*>(to);
  while (size--) *out++ = static_cast<char>(value);
  return to;
}

PROXY_RUNTIME int memcmp(const void* one, const void* other, size_t size) {
  auto* a = static_cast<const unsigned char*>(one);
  auto* b = static_cast<const unsigned char*>(other);
  for (; size; --size, ++a, ++b) {
    if (*a != *b) return *a - *b;
  }
  return 0;
}

PROXY_RUNTIME size_t strlen(const char* text) {
  size_t size = 0;
  while (text[size]) ++size;
  return size;
}

// A VM is thrown away whole: what a static object's destructor would do, nobody sees.
PROXY_RUNTIME int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }

// One thread: a local static object is made by whoever comes first.
PROXY_RUNTIME int __cxa_guard_acquire(uint64_t* guard) { return !*reinterpret_cast<char*>(guard); }
PROXY_RUNTIME void __cxa_guard_release(uint64_t* guard) { *reinterpret_cast<char*>(guard) = 1; }

PROXY_RUNTIME void __cxa_pure_virtual() { __builtin_trap(); }

#undef PROXY_RUNTIME

extern "C" void __wasm_call_ctors();  // the linker's: the constructors of all static objects

// The language knows this class by name and by layout: it is what {…} becomes.
namespace std {
template <class T>
class initializer_list {
 public:
  constexpr initializer_list() = default;
  constexpr size_t size() const { return size_; }
  constexpr const T* begin() const { return first_; }
  constexpr const T* end() const { return first_ + size_; }

 private:
  const T* first_ = nullptr;
  size_t size_ = 0;
};
}  // namespace std

#endif

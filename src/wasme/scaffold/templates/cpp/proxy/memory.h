// The allocator, for the filter (new and delete) and for the host, which puts here what it hands over.
//
// A block has one of the sizes 16, 32, 64, … bytes, and each size has a list of free blocks: taking one and giving it
// back are a few instructions, whatever came before, and blocks are never cut or joined. So a filter that runs for
// months has of each size as many as it needed at its busiest, and no more.
//
// In front of each block's contents stand 8 bytes: its size, and the next in the list while it is free.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "runtime.h"
#include "version.h"

#if PROXY_HOSTED
#include <stdlib.h>
#else
extern "C" unsigned char __heap_base;  // the linker puts it behind the stack and all data
#endif

namespace proxy::memory {

#if PROXY_HOSTED

PROXY_EXPORT("malloc") inline void* allocate(size_t size) { return malloc(size); }
inline void* resize(void* contents, size_t, size_t size) { return realloc(contents, size); }
inline void release(void* contents) { free(contents); }

#else

struct Block {
  uint32_t power;  // its size is 2 to this, with these 8 bytes
  Block* next;     // only while it is free
};

constexpr size_t kPage = 65536;
constexpr size_t kSmallest = 16;
constexpr size_t kMost = size_t{1} << 29;  // Envoy gives a VM no more than twice that

inline Block* free_blocks[31];  // by power
// The first address behind all blocks. The linker's is a multiple of 16, so this makes contents lie at such.
inline unsigned char* top = &__heap_base + sizeof(Block);

// So many bytes at a multiple of 16; null if there is no more memory. Also the host calls it.
PROXY_EXPORT("malloc") PROXY_ONCE inline void* allocate(size_t size) {
  if (size > kMost) return nullptr;
  const uint32_t power = 32 - static_cast<uint32_t>(__builtin_clz((size + sizeof(Block) - 1) | (kSmallest - 1)));
  Block*& free = free_blocks[power];
  Block* block = free;
  if (block) {
    free = block->next;
  } else {
    const size_t end = reinterpret_cast<size_t>(top) + (size_t{1} << power);
    const size_t have = __builtin_wasm_memory_size(0), want = (end + kPage - 1) / kPage;
    if (want > have && __builtin_wasm_memory_grow(0, want - have) == static_cast<size_t>(-1)) return nullptr;
    block = reinterpret_cast<Block*>(top);
    top = reinterpret_cast<unsigned char*>(end);
    block->power = power;
  }
  return block + 1;
}

// Give a block back; null is none.
PROXY_ONCE inline void release(void* contents) {
  if (!contents) return;
  Block* block = static_cast<Block*>(contents) - 1;
  block->next = free_blocks[block->power];
  free_blocks[block->power] = block;
}

// The same first `used` bytes in a block that has room for `size`; null if there is no more memory.
PROXY_INLINE inline void* resize(void* contents, size_t used, size_t size) {
  if (contents && size + sizeof(Block) <= size_t{1} << (static_cast<Block*>(contents) - 1)->power) return contents;
  void* moved = allocate(size);
  if (moved) {
    __builtin_memcpy(moved, contents, used);
    release(contents);
  }
  return moved;
}

#endif

}  // namespace proxy::memory

#if !PROXY_HOSTED

// There is nothing that a filter could do without memory: the VM ends, and Envoy answers as the plugin's policy says.
__attribute__((weak)) void* operator new(size_t size) {
  void* block = proxy::memory::allocate(size);
  if (!block) __builtin_trap();
  return block;
}
__attribute__((weak)) void* operator new[](size_t size) { return operator new(size); }
__attribute__((weak)) void operator delete(void* block) noexcept { proxy::memory::release(block); }
__attribute__((weak)) void operator delete[](void* block) noexcept { proxy::memory::release(block); }
__attribute__((weak)) void operator delete(void* block, size_t) noexcept { proxy::memory::release(block); }
__attribute__((weak)) void operator delete[](void* block, size_t) noexcept { proxy::memory::release(block); }

#endif

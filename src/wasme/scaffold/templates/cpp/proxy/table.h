// A table of what the host knows by a number: contexts and calls. A number is looked up on every callback.
#pragma once

#include <stdint.h>

#include "version.h"

namespace proxy::detail {

// One row; whatever is to be in a table derives from it.
struct Row {
  uint32_t number = 0;
  Row* next = nullptr;  // in its chain
};

// Chains of rows by the last bits of their numbers. The host counts up, so chains are of one length: ten rows, where a
// thread of Envoy's has ten thousand requests at a time.
class Table {
 public:
  // Null if there is none.
  Row* find(uint32_t number) { return *place(number); }

  void add(Row* row) {
    Row*& first = first_[row->number % kChains];
    row->next = first;
    first = row;
  }

  void remove(const Row* row) { *place(row->number) = row->next; }

 private:
  static constexpr uint32_t kChains = 1024;

  // What points to the row of that number, or to nothing at the end of its chain.
  PROXY_ONCE Row** place(uint32_t number) {
    Row** link = &first_[number % kChains];
    while (*link && (*link)->number != number) link = &(*link)->next;
    return link;
  }

  Row* first_[kChains] = {};
};

}  // namespace proxy::detail

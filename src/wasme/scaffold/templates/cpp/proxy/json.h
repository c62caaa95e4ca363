// Enough JSON for a configuration: the members of an object, read by name (RFC 8259).
//
//     JsonObject json(configuration);
//     if (!json || !json.read("cluster", cluster) || !json.read("retries", retries)) return false;
//
// Nothing is built in memory: the text is checked once, as a whole, and each look-up goes through it again.
// Bytes beyond ASCII are not looked at: a string has them as they stand there.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "text.h"

namespace proxy {

// A JSON object. Of members with the same name the last counts.
class JsonObject {
 public:
  // Whether a text is meant to be an object: its first character other than white space is "{".
  static bool looksLike(StringView text) {
    for (char character : text) {
      if (!isSpace(character)) return character == '{';
    }
    return false;
  }

  PROXY_INLINE explicit JsonObject(StringView text) { parse(text.data(), text.size()); }
  JsonObject(const JsonObject&) = delete;
  JsonObject& operator=(const JsonObject&) = delete;

  // Whether the text is an object, and does not nest deeper than 32. One that is not has no members.
  explicit operator bool() const { return good_; }

  // A member's value as it is written, to read it with another JsonObject or by hand. NotFound if it is not there.
  PROXY_INLINE Result<StringView> raw(StringView name) {
    return find(name.data(), name.size()) ? Result<StringView>({at_, size_}) : Status::NotFound;
  }

  // Read a member that is a string, and leave `into` as it is where there is none. False: it is something else.
  PROXY_INLINE bool read(StringView name, String& into) { return readText(name.data(), name.size(), into); }

  // Read a member that is a whole number: 7, not 7.5 or "7".
  bool read(StringView name, int64_t& into) {
    if (!find(name.data(), name.size())) return true;
    const Result<int64_t> number = parseInteger({at_, size_});
    if (number) into = *number;
    return bool(number);
  }

  // Read a member that is true or false.
  bool read(StringView name, bool& into) {
    if (!find(name.data(), name.size())) return true;
    if (*at_ != 't' && *at_ != 'f') return false;
    into = *at_ == 't';
    return true;
  }

 private:
  static constexpr int kDeepest = 32;

  PROXY_ONCE static bool isSpace(char character) {
    return character == ' ' || character == '\t' || character == '\n' || character == '\r';
  }

  PROXY_ONCE void parse(const char* text, size_t size) {
    text_.reserve(2 * size + 1);
    text_.append({text, size});
    char* const end = text_.data() + size;
    *end = 0;
    unescaped_ = end + 1;
    at_ = text_.data();
    name_size_ = StringView::npos;  // nothing is wanted
    good_ = peek() == '{' && value() && !peek() && at_ == end;
    if (!good_) *text_.data() = 0;
  }

  // Stand at the value of a member.
  PROXY_ONCE bool find(const char* name, size_t size) {
    at_ = text_.data();
    name_ = name;
    name_size_ = size;
    found_ = nullptr;
    return value() && found_ && (at_ = found_);
  }

  PROXY_ONCE bool readText(const char* name, size_t size, String& into) {
    if (!find(name, size)) return true;
    if (!string()) return false;
    into = StringView(unescaped_, length_);
    return true;
  }

  // What follows stands somewhere in the text, and passes over something, or says that there is no such thing. The zero
  // at the end is part of nothing.

  // The next character that is no white space; 0 at the end.
  PROXY_ONCE char peek() {
    const char* at = at_;
    while (isSpace(*at)) ++at;
    at_ = at;
    return *at;
  }

  PROXY_ONCE bool eat(char character) {
    if (peek() != character) return false;
    ++at_;
    return true;
  }

  // Any value, not deeper than `depth`.
  bool value(int depth = kDeepest) {
    const char first = peek();
    if (first == '"') return string();
    if (first == '{' || first == '[') return depth > 0 && list(first, depth);
    return word("true") || word("false") || word("null") || number();
  }

  bool list(char open, int depth) {
    const char close = static_cast<char>(open + 2);  // "}" and "]" follow their partners at the same distance
    ++at_;
    if (eat(close)) return true;
    do {
      bool wanted = false;
      if (open == '{') {
        if (!string()) return false;
        wanted = depth == kDeepest && StringView(unescaped_, length_) == StringView(name_, name_size_);
        if (!eat(':')) return false;
      }
      peek();
      const char* const begin = at_;
      if (!value(depth - 1)) return false;
      if (wanted) {
        found_ = begin;
        size_ = static_cast<size_t>(at_ - begin);
      }
    } while (eat(','));
    return eat(close);
  }

  PROXY_ONCE bool word(const char* word) {
    const char* at = at_;
    for (; *word; ++word, ++at) {
      if (*at != *word) return false;
    }
    at_ = at;
    return true;
  }

  PROXY_ONCE bool digits() {
    const char* at = at_;
    while (static_cast<unsigned char>(*at - '0') < 10) ++at;
    const bool any = at != at_;
    at_ = at;
    return any;
  }

  bool number() {
    word("-");
    if (!word("0") && !digits()) return false;
    if (word(".") && !digits()) return false;
    if (!word("e") && !word("E")) return true;
    if (!word("-")) word("+");
    return digits();
  }

  // A string, whose characters are then in `unescaped_`.
  PROXY_ONCE bool string() {
    if (!eat('"')) return false;
    char* out = unescaped_;
    for (;;) {
      auto code = static_cast<unsigned char>(*at_);
      if (code < ' ') return false;
      ++at_;
      if (code == '"') break;
      if (code == '\\') {
        out = escaped(out);
        if (!out) return false;
      } else {
        *out++ = static_cast<char>(code);
      }
    }
    length_ = static_cast<size_t>(out - unescaped_);
    return true;
  }

  // What a backslash and what follows it mean goes to `out`; gives where that ends, or null if they mean nothing.
  char* escaped(char* out) {
    if (word("u")) return escapedUnits(out);
    const char kind = *at_++;
    for (const char* pair = "\"\"\\\\//b\bf\fn\nr\rt\t"; *pair; pair += 2) {
      if (*pair != kind) continue;
      *out = pair[1];
      return out + 1;
    }
    return nullptr;
  }

  // A character in UTF-16, where one beyond the first 65,536 is a pair of units. Half of a pair is nothing.
  char* escapedUnits(char* out) {
    uint32_t code = unit();
    if (code >> 11 == 0xd800 >> 11) {
      if (!word("\\u")) return nullptr;
      const uint32_t low = unit() - 0xdc00;
      if (low > 0x3ff) return nullptr;
      code = ((code - 0xd800) << 10) + low + 0x10000;  // of two low ones more than any character
    }
    if (code > 0x10ffff) return nullptr;
    const int more = (code > 0x7f) + (code > 0x7ff) + (code > 0xffff);
    for (int i = more; i; --i, code >>= 6) out[i] = static_cast<char>(0x80 | (code & 0x3f));
    *out = static_cast<char>(more ? 0xf00 >> (more + 1) | code : code);  // 110…, 1110…, 11110…
    return out + more + 1;
  }

  // Four hexadecimal digits; more than any character if they are none.
  PROXY_ONCE uint32_t unit() {
    uint32_t unit = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      auto digit = static_cast<uint32_t>(*at_ - '0');
      if (digit > 9) {
        digit = (static_cast<uint32_t>(*at_) | ' ') - 'a';
        if (digit > 5) return ~0u;
        digit += 10;
      }
      unit = unit << 4 | digit;
    }
    return unit;
  }

  String text_;  // with a zero behind it, and as much again for unescaped strings
  const char* at_;
  char* unescaped_;  // the last string
  size_t length_;    // of it
  const char* name_;  // of the wanted member
  size_t name_size_;
  const char* found_;  // its value
  size_t size_;        // of that
  bool good_;
};

}  // namespace proxy

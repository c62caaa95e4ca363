// Text, which is UTF-8, and bytes of any other kind.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "memory.h"
#include "result.h"

namespace proxy {

// Characters that belong to somebody else: a literal, a String, a configuration while its callback runs.
class StringView {
 public:
  static constexpr size_t npos = static_cast<size_t>(-1);

  constexpr StringView() = default;
  PROXY_INLINE constexpr StringView(const char* text) : data_(text), size_(__builtin_strlen(text)) {}
  constexpr StringView(const char* data, size_t size) : data_(data), size_(size) {}

  constexpr const char* data() const { return data_; }
  constexpr size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr const char* begin() const { return data_; }
  constexpr const char* end() const { return data_ + size_; }
  constexpr char operator[](size_t at) const { return data_[at]; }

  // From `at` on, `size` characters or what there is of them.
  constexpr StringView substr(size_t at, size_t size = npos) const {
    if (at > size_) at = size_;
    return {data_ + at, size < size_ - at ? size : size_ - at};
  }

  bool startsWith(StringView text) const;
  bool endsWith(StringView text) const;

  // Where a text begins, looked for from `from` on; npos if it is not there.
  size_t find(StringView text, size_t from = 0) const;

 private:
  const char* data_ = "";
  size_t size_ = 0;
};

namespace detail {
PROXY_ONCE inline bool equal(const char* one, size_t size, const char* other, size_t other_size) {
  if (size != other_size) return false;
  for (size_t i = 0; i < size; ++i) {
    if (one[i] != other[i]) return false;
  }
  return true;
}
}  // namespace detail

PROXY_INLINE inline bool operator==(StringView one, StringView other) {
  return detail::equal(one.data(), one.size(), other.data(), other.size());
}
PROXY_INLINE inline bool operator!=(StringView one, StringView other) { return !(one == other); }

inline bool StringView::startsWith(StringView text) const { return substr(0, text.size_) == text; }
inline bool StringView::endsWith(StringView text) const {
  return size_ >= text.size_ && substr(size_ - text.size_) == text;
}
inline size_t StringView::find(StringView text, size_t from) const {
  for (size_t at = from; at <= size_ && text.size_ <= size_ - at; ++at) {
    if (substr(at, text.size_) == text) return at;
  }
  return npos;
}

// Whether a text is UTF-8 (RFC 3629): every character whole, in its shortest form, and no half of a surrogate pair.
PROXY_ONCE inline bool isUtf8(StringView text) {
  uint32_t code = 0;
  int more = 0;   // bytes of this character
  int shift = 0;  // of its bits, those that a shorter form has
  for (char character : text) {
    const uint32_t byte = static_cast<uint8_t>(character);
    if (more) {
      if (byte >> 6 != 2) return false;
      code = code << 6 | (byte & 0x3f);
      if (--more) continue;
      if (!(code >> shift) || code >> 11 == 0xd800 >> 11 || code > 0x10ffff) return false;
    } else if (byte > 0x7f) {
      if (byte < 0xc2 || byte > 0xf4) return false;
      more = 1 + (byte > 0xdf) + (byte > 0xef);
      shift = 5 * more + 1;
      code = byte & (0x3f >> more);
    }
  }
  return !more;
}

// Characters of its own. An empty one may hold no memory.
class String {
 public:
  String() = default;
  PROXY_INLINE String(const char* text) { append(text); }
  PROXY_INLINE String(StringView text) { append(text); }
  String(const String& other) { append(other); }
  String(String&& other) noexcept { swap(other); }
  PROXY_INLINE String& operator=(StringView text) { return put(0, text.data(), text.size()); }
  PROXY_INLINE String& operator=(const char* text) { return *this = StringView(text); }
  String& operator=(const String& other) { return *this = StringView(other); }
  String& operator=(String&& other) noexcept {
    swap(other);
    return *this;
  }
  ~String() { memory::release(data_); }

  // Take over a block of the allocator's, such as the host gives.
  static String adopt(char* data, size_t size) {
    String text;
    text.data_ = data;
    text.size_ = size;
    return text;
  }

  operator StringView() const { return {data_, size_}; }
  StringView view() const { return *this; }

  char* data() { return data_; }
  const char* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  char& operator[](size_t at) { return data_[at]; }
  char operator[](size_t at) const { return data_[at]; }

  PROXY_INLINE String& append(StringView text) { return put(size_, text.data(), text.size()); }
  String& append(char character) {
    *extend(1) = character;
    return *this;
  }
  String& operator+=(StringView text) { return append(text); }
  String& operator+=(char character) { return append(character); }

  // Make room for so many characters in all. (The allocator rounds up, so a text that grows is seldom moved anyway.)
  PROXY_ONCE void reserve(size_t room) {
    void* data = memory::resize(data_, size_, room);
    if (!data) __builtin_trap();
    data_ = static_cast<char*>(data);
  }

  // Grow by so many characters, and say where they are to be written.
  char* extend(size_t more) {
    const size_t size = size_;
    reserve(size + more);
    size_ = size + more;
    return data_ + size;
  }

  // Keep the first characters only.
  void truncate(size_t size) {
    if (size < size_) size_ = size;
  }

  void swap(String& other) noexcept {
    char* const data = data_;
    const size_t size = size_;
    data_ = other.data_;
    size_ = other.size_;
    other.data_ = data;
    other.size_ = size;
  }

 private:
  // Be what there is up to `at`, and this text, which may be a part of it.
  PROXY_ONCE String& put(size_t at, const char* text, size_t size) {
    const auto inside = static_cast<size_t>(text - data_);
    const bool own = inside < size_;
    reserve(at + size);
    __builtin_memmove(data_ + at, own ? data_ + inside : text, size);
    size_ = at + size;
    return *this;
  }

  char* data_ = nullptr;
  size_t size_ = 0;
};

namespace detail {

constexpr size_t kDigits = 20;  // of the largest 64-bit number

// Write a number in decimal so that it ends at `end`; gives where it begins.
inline char* decimal(uint64_t number, char* end) {
  do {
    *--end = static_cast<char>('0' + number % 10);
    number /= 10;
  } while (number);
  return end;
}

}  // namespace detail

// How a status is called in a log.
inline StringView toString(Status status) {
  constexpr StringView kNames[] = {"ok",
                                   "not found",
                                   "bad argument",
                                   "serialization failure",
                                   "parse failure",
                                   "bad expression",
                                   "invalid memory access",
                                   "empty",
                                   "compare-and-swap mismatch",
                                   "result mismatch",
                                   "internal failure",
                                   "broken connection",
                                   "unimplemented"};
  const auto index = static_cast<size_t>(status);
  return index < sizeof kNames / sizeof *kNames ? kNames[index] : "unknown status";
}

// One part of a text that concat() or a log function puts together: text, a character, a whole number, true or false,
// or a Status. It lives as long as the call.
class Piece {
 public:
  Piece(StringView text) : text_(text) {}
  Piece(const String& text) : text_(text) {}
  PROXY_INLINE Piece(const char* text) : text_(text) {}
  Piece(Status status) : text_(toString(status)) {}
  Piece(bool value) : text_(value ? "true" : "false") {}
  Piece(char character) : text_(digits_, 1) { digits_[0] = character; }
  Piece(unsigned long long number) { write(number, false); }
  Piece(long long number) {
    const auto bits = static_cast<unsigned long long>(number);
    write(number < 0 ? 0 - bits : bits, number < 0);
  }
  Piece(unsigned long number) : Piece(static_cast<unsigned long long>(number)) {}
  Piece(long number) : Piece(static_cast<long long>(number)) {}
  Piece(unsigned number) : Piece(static_cast<unsigned long long>(number)) {}
  Piece(int number) : Piece(static_cast<long long>(number)) {}

  Piece(const Piece&) = delete;
  Piece& operator=(const Piece&) = delete;

  StringView text() const { return text_; }

 private:
  void write(unsigned long long number, bool negative) {
    char* const end = digits_ + sizeof digits_;
    char* begin = detail::decimal(number, end);
    if (negative) *--begin = '-';
    text_ = {begin, static_cast<size_t>(end - begin)};
  }

  StringView text_;
  char digits_[detail::kDigits + 1];
};

namespace detail {
inline String concat(const Piece* pieces, size_t count) {
  size_t size = 0;
  for (size_t i = 0; i < count; ++i) size += pieces[i].text().size();
  String all;
  all.reserve(size);
  for (size_t i = 0; i < count; ++i) all.append(pieces[i].text());
  return all;
}
}  // namespace detail

// One text of several pieces: concat("took ", milliseconds, " ms").
template <class... Pieces>
String concat(const Pieces&... pieces) {
  const Piece all[] = {Piece(pieces)...};
  return detail::concat(all, sizeof...(pieces));
}

// A whole number in decimal, as all of a text: "42", "-7". ParseFailure if it is none, or does not fit.
inline Result<int64_t> parseInteger(StringView text) {
  const bool negative = text.startsWith("-");
  if (negative) text = text.substr(1);
  if (text.empty()) return Status::ParseFailure;
  const uint64_t most = negative ? uint64_t{1} << 63 : ~uint64_t{0} >> 1;
  uint64_t number = 0;
  for (char character : text) {
    const auto digit = static_cast<uint8_t>(character - '0');
    if (digit > 9 || number > (most - digit) / 10) return Status::ParseFailure;
    number = number * 10 + digit;
  }
  return static_cast<int64_t>(negative ? 0 - number : number);
}

// As many of `find` as there are in a text, replaced.
inline String replaceAll(StringView text, StringView find, StringView replacement) {
  String out;
  if (find.empty()) return text;
  size_t from = 0;
  for (size_t at; (at = text.find(find, from)) != StringView::npos; from = at + find.size()) {
    out.append(text.substr(from, at - from)).append(replacement);
  }
  return out.append(text.substr(from)), out;
}

namespace detail {

// Where a host call puts the bytes it gives.
struct Out {
  char* data = nullptr;
  size_t size = 0;

  // They are ours from now on.
  String take() const { return String::adopt(data, size); }
  Result<String> result(Status status) const { return {status, take()}; }
};

}  // namespace detail

}  // namespace proxy

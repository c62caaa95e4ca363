// Headers and trailers: those of the host (requestHeaders, …) and lists of one's own (Headers).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "text.h"

namespace proxy {

// One header.
struct Header {
  StringView name;
  StringView value;
};

// A list of headers, in their order, with all that have the same name.
//
//     Headers headers = {{":method", "GET"}, {":path", path}};
//     headers.add("x-user", user);
//     for (auto [name, value] : requestHeaders.all()) …
//
// It is kept as the host reads and writes it: how many, the sizes of each name and value, then all of them with a zero
// behind each. So a list of the host's costs one allocation, and one of ours goes out as it is.
class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<Header> headers) {
    size_t size = kWord;
    for (const Header& header : headers) size += kPair + header.name.size() + header.value.size() + 2;
    bytes_.reserve(size);
    for (const Header& header : headers) add(header.name, header.value);
  }

  // What the host has given; nothing if it is not well formed.
  static Headers adopt(String bytes) {
    Headers headers;
    if (isWhole(bytes)) headers.bytes_ = detail::move(bytes);
    return headers;
  }

  Headers& add(StringView name, StringView value) {
    if (bytes_.empty()) __builtin_memset(bytes_.extend(kWord), 0, kWord);
    const size_t sizes = kWord + kPair * size();
    const size_t rest = bytes_.size() - sizes;
    bytes_.extend(kPair);
    char* const at = bytes_.data() + sizes;
    __builtin_memmove(at + kPair, at, rest);
    store(at, name.size());
    store(at + kWord, value.size());
    store(bytes_.data(), size() + 1);
    bytes_.append(name).append('\0').append(value).append('\0');
    return *this;
  }

  // How many there are.
  size_t size() const { return bytes_.empty() ? 0 : load(bytes_.data()); }
  bool empty() const { return size() == 0; }

  // As the host wants them.
  StringView encoded() const { return bytes_; }

  class Iterator {
   public:
    Iterator(const char* sizes, const char* data) : sizes_(sizes), data_(data) {}
    Header operator*() const {
      const size_t name = load(sizes_);
      return {{data_, name}, {data_ + name + 1, load(sizes_ + kWord)}};
    }
    Iterator& operator++() {
      data_ += load(sizes_) + load(sizes_ + kWord) + 2;
      sizes_ += kPair;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return sizes_ != other.sizes_; }

   private:
    const char* sizes_;
    const char* data_;
  };
  Iterator begin() const { return {bytes_.data() + kWord, bytes_.data() + kWord + kPair * size()}; }
  Iterator end() const { return {bytes_.data() + kWord + kPair * size(), nullptr}; }

 private:
  static constexpr size_t kWord = 4;
  static constexpr size_t kPair = 2 * kWord;

  static uint32_t load(const char* at) {
    uint32_t word;
    __builtin_memcpy(&word, at, kWord);
    return word;
  }
  static void store(char* at, uint32_t word) { __builtin_memcpy(at, &word, kWord); }

  static bool isWhole(StringView bytes) {
    if (bytes.size() < kWord) return false;
    uint64_t left = bytes.size() - kWord;
    const uint64_t count = load(bytes.data());
    if (count * kPair > left) return false;
    left -= count * kPair;
    for (uint64_t i = 0; i < count; ++i) {
      const char* sizes = bytes.data() + kWord + kPair * i;
      const uint64_t pair = uint64_t{load(sizes)} + load(sizes + kWord) + 2;
      if (pair > left) return false;
      left -= pair;
    }
    return true;
  }

  String bytes_;
};

// A map of the host's. Names are compared without regard to case; the host writes them in lower case.
class HeaderMap {
 public:
  constexpr explicit HeaderMap(MapType type) : type_(type) {}

  // The first value; NotFound if there is no such header, BadArgument if there is no such map now.
  Result<String> get(StringView name) const {
    detail::Out out;
    Status status = abi::proxy_get_header_map_value(type_, name.data(), name.size(), &out.data, &out.size);
#if PROXY_ABI_NUMBER < 20
    if (status == Status::Ok && !out.size) status = Status::NotFound;  // 0.1.0 does not tell an empty one from none
#endif
    return out.result(status);
  }

  bool has(StringView name) const { return bool(get(name)); }

  // Add a value, beside those that are there.
  Status add(StringView name, StringView value) const {
    return abi::proxy_add_header_map_value(type_, name.data(), name.size(), value.data(), value.size());
  }

  // Make this the only value.
  Status set(StringView name, StringView value) const {
    return abi::proxy_replace_header_map_value(type_, name.data(), name.size(), value.data(), value.size());
  }

  // Take all its values away; it is no error if there is none.
  Status remove(StringView name) const { return abi::proxy_remove_header_map_value(type_, name.data(), name.size()); }

  // All of them; none if there is no such map now.
  Headers all() const {
    detail::Out out;
    abi::proxy_get_header_map_pairs(type_, &out.data, &out.size);
    return Headers::adopt(out.take());
  }

  // Replace the whole map. Envoy finds no route for a request without :path, :authority and x-forwarded-proto.
  Status setAll(const Headers& headers) const {
    const StringView bytes = headers.encoded();
    return abi::proxy_set_header_map_pairs(type_, bytes.data(), bytes.size());
  }

  // The size of all names and values, in bytes.
  Result<size_t> byteSize() const {
    size_t size = 0;
    const Status status = abi::proxy_get_header_map_size(type_, &size);
    return {status, size};
  }

 private:
  MapType type_;
};

inline constexpr HeaderMap requestHeaders{MapType::RequestHeaders};
inline constexpr HeaderMap requestTrailers{MapType::RequestTrailers};
inline constexpr HeaderMap responseHeaders{MapType::ResponseHeaders};
inline constexpr HeaderMap responseTrailers{MapType::ResponseTrailers};
// In onHttpCallResponse.
inline constexpr HeaderMap callResponseHeaders{MapType::CallResponseHeaders};
inline constexpr HeaderMap callResponseTrailers{MapType::CallResponseTrailers};
// In onGrpcInitialMetadata and onGrpcTrailingMetadata.
inline constexpr HeaderMap grpcInitialMetadata{MapType::GrpcInitialMetadata};
inline constexpr HeaderMap grpcTrailingMetadata{MapType::GrpcTrailingMetadata};

}  // namespace proxy

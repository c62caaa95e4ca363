// A value, or why there is none.
#pragma once

#include "types.h"

namespace proxy {

namespace detail {
template <class T>
struct Bare {
  using Type = T;
};
template <class T>
struct Bare<T&> {
  using Type = T;
};
template <class T>
constexpr typename Bare<T>::Type&& move(T&& value) {
  return static_cast<typename Bare<T>::Type&&>(value);
}
}  // namespace detail

// What a host call gives: a value if `status` is Ok.
//
//     auto user = requestHeaders.get("x-user");
//     if (user) logInfo("it is ", *user);
//     else logInfo("nobody: ", user.status());
template <class T>
class [[nodiscard]] Result {
 public:
  Result(Status status) : status_(status) {}
  Result(T value) : value_(detail::move(value)) {}
  Result(Status status, T value) : status_(status), value_(detail::move(value)) {}

  explicit operator bool() const { return status_ == Status::Ok; }
  Status status() const { return status_; }

  // The value; an empty one if there is none.
  T& operator*() & { return value_; }
  const T& operator*() const& { return value_; }
  T&& operator*() && { return detail::move(value_); }
  T* operator->() { return &value_; }
  const T* operator->() const { return &value_; }

  // The value, or another if there is none.
  T valueOr(T other) && { return *this ? detail::move(value_) : detail::move(other); }
  T valueOr(T other) const& { return *this ? value_ : detail::move(other); }

 private:
  Status status_ = Status::Ok;
  T value_{};
};

}  // namespace proxy

// Metrics. They stand among Envoy's own, with the prefix "wasmcustom.", and all VMs count in the same.
//
// The host does not take definitions before it has made a context, so a static metric has no name at first; it gets one
// in onConfigure:
//
//     Counter requests;
//     bool onConfigure(StringView) {
//       requests = Counter("filter.requests");
//       return true;
//     }
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "text.h"

namespace proxy {

namespace detail {

class Metric {
 public:
  // Whether the host has it.
  explicit operator bool() const { return status_ == Status::Ok; }
  Status status() const { return status_; }

  // What it stands at; BadArgument for a histogram.
  Result<uint64_t> value() const {
    uint64_t value = 0;
    const Status status = abi::proxy_get_metric(id_, &value);
    return {status, value};
  }

 protected:
  Metric() = default;
  Metric(MetricType type, StringView name)
      : status_(abi::proxy_define_metric(type, name.data(), name.size(), &id_)) {}

  Status change(int64_t by) const {
    return *this ? abi::proxy_increment_metric(id_, by) : status_;
  }
  Status record(uint64_t value) const {
    return *this ? abi::proxy_record_metric(id_, value) : status_;
  }

 private:
  uint32_t id_ = 0;
  Status status_ = Status::NotFound;
};

}  // namespace detail

// Counts up.
class Counter : public detail::Metric {
 public:
  Counter() = default;
  explicit Counter(StringView name) : Metric(MetricType::Counter, name) {}
  Status increment(int64_t by = 1) const { return change(by); }
};

// Goes up and down.
class Gauge : public detail::Metric {
 public:
  Gauge() = default;
  explicit Gauge(StringView name) : Metric(MetricType::Gauge, name) {}
  Status add(int64_t by) const { return change(by); }
  Status set(uint64_t value) const { return record(value); }
};

// Sorts values into buckets, such as how long something took.
class Histogram : public detail::Metric {
 public:
  Histogram() = default;
  explicit Histogram(StringView name) : Metric(MetricType::Histogram, name) {}
  using Metric::record;
};

}  // namespace proxy

#include "onnx_file.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>

#include "mapped.hpp"

namespace samdeploy::internal {
namespace {

/// Kinds of messages on the way to where tensors are.
enum class Kind { model, training, function, graph, node, attribute, sparse, tensor, external };

/// By kind of message, the kinds of its fields.
const std::map<Kind, std::map<std::uint64_t, Kind>>& fields() {
  static const std::map<Kind, std::map<std::uint64_t, Kind>> all{
      {Kind::model, {{7, Kind::graph}, {20, Kind::training}, {25, Kind::function}}},
      {Kind::training, {{1, Kind::graph}, {2, Kind::graph}}},
      {Kind::function, {{7, Kind::node}, {11, Kind::attribute}}},
      {Kind::graph, {{1, Kind::node}, {5, Kind::tensor}, {15, Kind::sparse}}},
      {Kind::node, {{5, Kind::attribute}}},
      {Kind::attribute,
       {{5, Kind::tensor},
        {6, Kind::graph},
        {10, Kind::tensor},
        {11, Kind::graph},
        {22, Kind::sparse},
        {23, Kind::sparse}}},
      {Kind::sparse, {{1, Kind::tensor}, {2, Kind::tensor}}},
      {Kind::tensor, {{13, Kind::external}}},
  };
  return all;
}

constexpr int deepest = 100;

/// Reads a file without taking what it skips: weights stay on the disk.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : file_(path) {}

  std::set<std::string> external() {
    collect(file_.size(), Kind::model, deepest);
    return std::move(found_);
  }

 private:
  void collect(std::uint64_t end, Kind kind, int deeper) {
    if (deeper == 0) throw std::runtime_error("nested too deeply");
    std::string key;
    std::string value;
    each_field(end, [&](std::uint64_t number, std::uint64_t stop) {
      if (kind == Kind::external) {
        if (number == 1) key = text(stop);
        if (number == 2) value = text(stop);
        return;
      }
      const auto known = fields().find(kind);
      const auto inner = known->second.find(number);
      if (inner != known->second.end()) collect(stop, inner->second, deeper - 1);
    });
    if (kind == Kind::external && key == "location") found_.insert(value);
  }

  /// The fields that have content of their own; `take` may read it.
  template <typename Take>
  void each_field(std::uint64_t end, const Take& take) {
    while (at_ < end) {
      const std::uint64_t key = varint(end);
      // Libraries drop the upper bits, and read another field than is skipped here.
      if (key >> 32 != 0) throw std::runtime_error("a field's key of more than 32 bits");
      switch (key % 8) {
        case 0:
          varint(end);
          break;
        case 1:
          skip_to(at_ + 8, end);
          break;
        case 5:
          skip_to(at_ + 4, end);
          break;
        case 2: {
          const std::uint64_t length = varint(end);
          if (length > end - at_) throw std::runtime_error("truncated");
          const std::uint64_t stop = at_ + length;
          take(key / 8, stop);
          skip_to(stop, end);
          break;
        }
        default:
          throw std::runtime_error("no protocol buffer");
      }
    }
  }

  std::uint64_t varint(std::uint64_t end) {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end) throw std::runtime_error("truncated");
      const auto byte = std::to_integer<std::uint64_t>(file_.data()[at_++]);
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw std::runtime_error("a number of more than 64 bits");
  }

  void skip_to(std::uint64_t stop, std::uint64_t end) {
    if (stop > end) throw std::runtime_error("truncated");
    at_ = stop;
  }

  std::string text(std::uint64_t stop) {
    if (stop - at_ > 4096) throw std::runtime_error("a name of more than 4096 bytes");
    std::string value(reinterpret_cast<const char*>(file_.data()) + at_, static_cast<std::size_t>(stop - at_));
    at_ = stop;
    return value;
  }

  MappedFile file_;
  std::uint64_t at_ = 0;
  std::set<std::string> found_;
};

}  // namespace

std::set<std::string> external_files(const std::filesystem::path& path) { return Reader(path).external(); }

}  // namespace samdeploy::internal

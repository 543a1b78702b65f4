// The shapes that the tensors of a model have.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tensor.hpp"

namespace samdeploy::internal {

/// Sides as a manifest tells them: decimals, or a name where they differ from call to call. Empty is any number.
using Sides = std::vector<std::string>;

inline bool is_number(const std::string& side) { return !side.empty() && side[0] >= '0' && side[0] <= '9'; }

/// Of every tensor that a graph of `role` may have, by name, with images of `side` pixels and features of `channels`.
std::map<std::string, Sides> shapes_of(const std::string& role, std::int64_t side, std::int64_t channels);

/// What the named sides are in one call of a graph.
class CallSizes {
 public:
  /// Whether a tensor has the sides that are told, where the same name is the same number everywhere.
  bool fit(const Sides& told, const Tensor& tensor);

  /// What follows for the answer: of an image as a whole, `grid x grid` tokens, unless only some of them are given.
  void imply(std::int64_t grid);

 private:
  std::map<std::string, std::int64_t> sizes_;
};

}  // namespace samdeploy::internal

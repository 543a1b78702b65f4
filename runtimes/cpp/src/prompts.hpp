// Prompts to what the decoder takes of them.
#pragma once

#include <vector>

#include "families.hpp"
#include "geometry.hpp"
#include "tensor.hpp"

namespace samdeploy::internal {

/// Labels of tokens: no token at all, SAM's "not a point", points, and the corners of a box.
enum Label { absent = -2, padding = -1, background = 0, foreground = 1, top_left = 2, bottom_right = 3 };

/// A batch of prompts.
struct PromptTensors {
  Tensors tensors;
  /// Whether any of them has a mask.
  bool masked = false;
};

/// Throw what `encode_prompts` would, before anything is computed.
void check_prompts(const std::vector<Prompt>& prompts, const Transform& transform);

/// One batch, whatever kinds and lengths; shorter prompts are filled up with tokens that take part in nothing.
PromptTensors encode_prompts(const Prompt* prompts, std::size_t count, const Transform& transform,
                             const Family& family);

}  // namespace samdeploy::internal

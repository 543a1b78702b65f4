// What models of a family have in common, and what their graphs take and give.
#pragma once

#include <array>
#include <limits>
#include <string>
#include <vector>

#include "preprocess.hpp"

namespace samdeploy::internal {

/// Names of the graphs of a bundle: the first two always, the other three where it has the split decoder.
constexpr std::array<const char*, 5> roles{"encoder", "decoder", "prepare", "scorer", "mask_head"};

using Names = std::vector<std::string>;

struct Family {
  std::string name;
  /// How an image becomes encoder input, where the manifest does not say.
  Steps steps;
  /// A box comes before points, and the padding token follows both.
  bool always_padded = false;
  /// Logits of a mask that is a prompt are cut off here.
  float largest_logit = std::numeric_limits<float>::infinity();
  /// When one mask is asked for, it is output 0 only where its outline is stable.
  bool stable_single_mask = false;
  /// The mask head sees so many cells around the one that is wanted.
  int halo = 0;
  /// What its models recommend, where the manifest does not say.
  WholeImageSettings whole_image;
  /// What the encoder gives, and so what its other graphs take of the image.
  Names features;
  /// What the mask head takes of the image, beside `image_features`.
  Names tokens;
  /// What the decoder and the scorer give, beside masks and ratings.
  Names answers;
};

/// All that this library knows.
const std::vector<Family>& families();

/// Names of the tensors of the graph of a role.
struct GraphNames {
  Names inputs;
  Names outputs;
};
GraphNames tensors_of(const Family& family, const std::string& role);

}  // namespace samdeploy::internal

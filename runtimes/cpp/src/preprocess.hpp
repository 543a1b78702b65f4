// An image to the input of the encoder; see "Other models" in docs/embedding.md.
#pragma once

#include <array>

#include "geometry.hpp"
#include "resize.hpp"
#include "tensor.hpp"

namespace samdeploy::internal {

enum class Rounding { nearest, down, none };

/// What happens to the pixels of an image. The defaults are SAM's; mean and deviation are inside the graph.
struct Steps {
  bool square = false;
  Resampling resampling = Resampling::bilinear;
  Rounding rounding = Rounding::nearest;
  /// The smallest value of the image becomes 0, the largest 255.
  bool min_max = false;
  std::array<float, 3> pad{123.675F, 116.28F, 103.53F};

  Transform transform(Size size, int image_size) const {
    return square ? Transform::square(size, image_size) : Transform::fit(size, image_size);
  }
};

/// Bytes in any order to RGB of this library's own. Throws for what is no image.
Rgb to_rgb(const ImageView& image);

/// Float32 `[1, 3, S, S]` in 0-255, channels first.
Tensor preprocess(const Rgb& image, const Transform& transform, const Steps& steps);

}  // namespace samdeploy::internal

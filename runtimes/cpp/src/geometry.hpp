// How pixels of an image map to pixels of the encoder input.
#pragma once

#include <algorithm>
#include <cmath>

#include "samdeploy/samdeploy.hpp"

namespace samdeploy::internal {

inline bool operator==(const Size& a, const Size& b) { return a.height == b.height && a.width == b.width; }
inline bool operator!=(const Size& a, const Size& b) { return !(a == b); }

inline std::size_t pixels(const Size& size) {
  return static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width);
}

/// The picture is resized to `input`, of which SAM makes the longer side `image_size` and pads the rest; SAM 2 and
/// others stretch it. Low-res logits are this frame at a quarter of its resolution.
struct Transform {
  Size original;
  Size input;
  int image_size = 0;
  /// Logits go to the image in one interpolation instead of two, by way of the input.
  bool one_step = false;

  /// The longer side becomes `image_size`; halves round up, and no side is below one pixel.
  static Transform fit(Size original, int image_size) {
    const double scale = static_cast<double>(image_size) / std::max(original.height, original.width);
    const auto side = [&](int length) { return std::max(1, static_cast<int>(std::floor(length * scale + 0.5))); };
    return {original, {side(original.height), side(original.width)}, image_size, false};
  }

  /// Stretched, whatever the sides are.
  static Transform square(Size original, int image_size) {
    return {original, {image_size, image_size}, image_size, true};
  }

  /// A point of the image in pixels of the encoder input; each axis has its own factor.
  Point to_input(Point point) const {
    return {point.x * (static_cast<double>(input.width) / original.width),
            point.y * (static_cast<double>(input.height) / original.height)};
  }

  int low_res_side() const { return image_size / 4; }
  /// Of the part of low-res logits that is not all padding.
  Size low_res_size() const { return {(input.height + 3) / 4, (input.width + 3) / 4}; }
};

}  // namespace samdeploy::internal

// The image and its crops, each with its grid of points.
#pragma once

#include <vector>

#include "geometry.hpp"

namespace samdeploy::internal {

/// A part of the image: `box` (its end not included), and points in its own pixels.
struct Crop {
  Box box;
  std::vector<Point> points;
};

/// The whole image, then per layer `i` a tiling of `2^i x 2^i`; neighbours overlap.
std::vector<Crop> make_crops(Size size, const WholeImageSettings& settings);

}  // namespace samdeploy::internal

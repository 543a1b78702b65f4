// Outlines of masks.
#pragma once

#include <vector>

#include "rle.hpp"

namespace samdeploy::internal {

/// Parts of a bitmap, largest first; `epsilon` is the largest distance in pixels that outlines may move (0: none).
std::vector<Polygon> polygons_of(const Bitmap& bitmap, Size size, double epsilon);

}  // namespace samdeploy::internal

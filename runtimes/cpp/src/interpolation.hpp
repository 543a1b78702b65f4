// Low-res logits in the frame of the image.
#pragma once

#include <functional>

#include "geometry.hpp"

namespace samdeploy::internal {

/// Gets row `y`; the values are overwritten by the next one.
using TakeRow = std::function<void(const float* row, int y)>;

/// Interpolate the logits of one mask to the size of the image, bilinear with half-pixel centres, row by row.
void each_image_row(const float* logits, const Transform& transform, const TakeRow& take);

}  // namespace samdeploy::internal

// Overlaps of boxes, widths times heights without a pixel added.
#pragma once

#include <vector>

#include "geometry.hpp"

namespace samdeploy::internal {

/// In single precision like the reference's, so that ties fall alike; not a number where both have no area.
float box_iou(const Box& a, const Box& b);

/// A lower bound of the IoU with `box` of a box that holds `inner` and lies in `outer`.
double least_iou(const Box& inner, const Box& outer, const Box& box);

/// Indices, largest score first; ties keep their order.
std::vector<std::size_t> by_score(const std::vector<float>& scores);

/// Greedy non-maximum suppression: indices of what is kept, best first.
std::vector<std::size_t> nms(const std::vector<Box>& boxes, const std::vector<float>& scores, double threshold);

/// Whether a box in image pixels touches an edge of the crop but not of the image: another crop sees it whole.
bool near_crop_edge(const Box& box, const Box& crop, Size image);

}  // namespace samdeploy::internal

#include "grids.hpp"

#include <algorithm>
#include <cmath>

#include "settings.hpp"

namespace samdeploy::internal {
namespace {

/// Cell centres of the unit square, row by row.
std::vector<Point> point_grid(int side) {
  const double half = 1.0 / (2 * side);
  // From both ends, as NumPy's linspace computes them.
  const double step = side > 1 ? (1 - half - half) / (side - 1) : 0;
  const auto centre = [&](int i) { return side > 1 && i == side - 1 ? 1 - half : half + i * step; };
  std::vector<Point> points;
  for (int y = 0; y < side; y++) {
    for (int x = 0; x < side; x++) points.push_back({centre(x), centre(y)});
  }
  return points;
}

std::vector<std::pair<Box, int>> crop_boxes(Size size, int layers, double overlap_ratio) {
  const double width = size.width;
  const double height = size.height;
  std::vector<std::pair<Box, int>> boxes{{{0, 0, width, height}, 0}};
  for (int layer = 1; layer <= layers; layer++) {
    const int tiles = 1 << layer;
    const double overlap = std::trunc(overlap_ratio * std::min(height, width) * (2.0 / tiles));
    const double crop_width = std::ceil((overlap * (tiles - 1) + width) / tiles);
    const double crop_height = std::ceil((overlap * (tiles - 1) + height) / tiles);
    for (int i = 0; i < tiles; i++) {
      for (int j = 0; j < tiles; j++) {
        const double x = (crop_width - overlap) * i;
        const double y = (crop_height - overlap) * j;
        boxes.push_back({{x, y, std::min(x + crop_width, width), std::min(y + crop_height, height)}, layer});
      }
    }
  }
  return boxes;
}

}  // namespace

std::vector<Crop> make_crops(Size size, const WholeImageSettings& settings) {
  std::vector<Crop> crops;
  for (const auto& [box, layer] : crop_boxes(size, settings.crop_n_layers, settings.crop_overlap_ratio)) {
    const double width = box.x2 - box.x1;
    const double height = box.y2 - box.y1;
    // An image of few pixels has tiles without any.
    if (width <= 0 || height <= 0) continue;
    const auto grid = settings.point_grids.empty() ? point_grid(points_along(settings, layer))
                                                   : settings.point_grids[static_cast<std::size_t>(layer)];
    Crop crop{box, {}};
    for (const Point& point : grid) crop.points.push_back({point.x * width, point.y * height});
    crops.push_back(std::move(crop));
  }
  return crops;
}

}  // namespace samdeploy::internal

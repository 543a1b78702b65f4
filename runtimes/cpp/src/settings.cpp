#include "settings.hpp"

#include <algorithm>
#include <cmath>

#include "text.hpp"

namespace samdeploy::internal {
namespace {

constexpr double most_points = 1e7;

void check_number(const char* name, double value, double least, double most) {
  // Written so that not-a-number fails too.
  if (!(value >= least && value <= most)) {
    refuse(Fault::input, name, "=", value, "; expected a number from ", least, " to ", most, ".");
  }
}

void check_grids(const WholeImageSettings& settings) {
  const auto& grids = settings.point_grids;
  const int layers = settings.crop_n_layers + 1;
  if (grids.size() != static_cast<std::size_t>(layers)) {
    refuse(Fault::input, grids.size(), " point_grids; expected ", layers,
           ", one for the image and one per layer of crops.");
  }
  for (const auto& grid : grids) {
    const bool inside = std::all_of(grid.begin(), grid.end(), [](const Point& point) {
      return point.x >= 0 && point.x <= 1 && point.y >= 0 && point.y <= 1;
    });
    if (grid.empty() || !inside) {
      refuse(Fault::input, "a point grid with a point beyond 0 to 1, or none; expected shares of the crop's sides.");
    }
  }
}

}  // namespace

int points_along(const WholeImageSettings& settings, int layer) {
  const double divided = settings.points_stride / std::pow(settings.crop_downscale_factor, layer);
  return std::max(1, static_cast<int>(divided));
}

void check_settings(const WholeImageSettings& settings) {
  check_number("points_stride", settings.points_stride, 1, 1000);
  check_number("points_batch_size", settings.points_batch_size, 1, 1024);
  check_number("conf_thres", settings.conf_thres, 0, 1);
  check_number("stability_score_thresh", settings.stability_score_thresh, 0, 1);
  check_number("stability_score_offset", settings.stability_score_offset, 0, 1000);
  check_number("nms_thresh", settings.nms_thresh, 0, 1);
  check_number("crop_n_layers", settings.crop_n_layers, 0, 6);
  check_number("crop_nms_thresh", settings.crop_nms_thresh, 0, 1);
  check_number("crop_overlap_ratio", settings.crop_overlap_ratio, 0, 0.99);
  check_number("crop_downscale_factor", settings.crop_downscale_factor, 1, 1000);
  check_number("min_mask_region_area", static_cast<double>(settings.min_mask_region_area), 0, 1e9);
  if (!settings.point_grids.empty()) {
    check_grids(settings);
  } else {
    double count = 0;
    for (int layer = 0; layer <= settings.crop_n_layers; layer++) {
      count += std::pow(4.0, layer) * std::pow(points_along(settings, layer), 2.0);
    }
    if (count > most_points) {
      refuse(Fault::input, "points_stride=", settings.points_stride, " with crop_n_layers=", settings.crop_n_layers,
             " asks at ", count, " points; expected at most ", most_points, ".");
    }
  }
  if (settings.adaptive && (settings.exact || !settings.point_grids.empty())) {
    refuse(Fault::input,
           "adaptive mode works on low-res logits of a regular grid; drop exact and point_grids, or the mode.");
  }
}

}  // namespace samdeploy::internal

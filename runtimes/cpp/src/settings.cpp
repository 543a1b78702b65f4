#include "settings.hpp"

#include <algorithm>
#include <cmath>
#include <locale>
#include <sstream>

#include "text.hpp"

namespace samdeploy {
namespace internal {
namespace {

constexpr double most_points = 1e7;

void check_number(const char* name, double value, double least, double most) {
  // Written so that not-a-number fails too.
  if (!(value >= least && value <= most)) {
    refuse(Fault::input, name, "=", value, "; expected a number from ", least, " to ", most, ".");
  }
}

/// All of `text` as one number, whatever the locale.
template <typename T>
T number_of(const std::string& name, const std::string& text, const char* expected) {
  std::istringstream in(text);
  in.imbue(std::locale::classic());
  T value{};
  if (!(in >> value) || in.peek() != std::istringstream::traits_type::eof()) {
    refuse(Fault::input, name, "=", text, "; expected ", expected, ".");
  }
  return value;
}

void read(const std::string& name, const std::string& text, int& value) {
  value = number_of<int>(name, text, "a whole number");
}
void read(const std::string& name, const std::string& text, std::int64_t& value) {
  value = number_of<std::int64_t>(name, text, "a whole number");
}
void read(const std::string& name, const std::string& text, double& value) {
  value = number_of<double>(name, text, "a number");
}
void read(const std::string& name, const std::string& text, bool& value) {
  if (text != "true" && text != "false") refuse(Fault::input, name, "=", text, "; expected true or false.");
  value = text == "true";
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

const std::vector<Setting>& all_settings() {
  using S = WholeImageSettings;
  static const std::vector<Setting> all{
      {"points_stride", &S::points_stride, 1, 1000, {"points_per_side"}},
      {"points_batch_size", &S::points_batch_size, 1, 1024, {"points_per_batch"}},
      {"conf_thres", &S::conf_thres, 0, 1, {"pred_iou_thresh", "conf"}},
      {"stability_score_thresh", &S::stability_score_thresh, 0, 1, {}},
      {"stability_score_offset", &S::stability_score_offset, 0, 1000, {}},
      {"nms_thresh", &S::nms_thresh, 0, 1, {"box_nms_thresh", "iou"}},
      {"crop_n_layers", &S::crop_n_layers, 0, 6, {}},
      {"crop_nms_thresh", &S::crop_nms_thresh, 0, 1, {}},
      {"crop_overlap_ratio", &S::crop_overlap_ratio, 0, 0.99, {}},
      {"crop_downscale_factor", &S::crop_downscale_factor, 1, 1000, {"crop_n_points_downscale_factor"}},
      {"min_mask_region_area", &S::min_mask_region_area, 0, 1e9, {}},
      {"exact", &S::exact, 0, 1, {}},
      {"multimask_output", &S::multimask_output, 0, 1, {}},
      {"best_only", &S::best_only, 0, 1, {}},
      {"use_m2m", &S::use_m2m, 0, 1, {}},
  };
  return all;
}

const Setting& setting_named(const std::string& name) {
  std::string known = "mode";
  for (const Setting& each : all_settings()) {
    const auto& others = each.other_names;
    if (each.name == name || std::find(others.begin(), others.end(), name) != others.end()) return each;
    known += std::string(", ") + each.name;
  }
  refuse(Fault::input, "unknown setting '", name, "'; expected one of ", known, ".");
}

void set_mode(WholeImageSettings& settings, const std::string& mode) {
  if (mode != "grid" && mode != "adaptive") refuse(Fault::input, "mode=", mode, "; expected grid or adaptive.");
  settings.adaptive = mode == "adaptive";
}

int points_along(const WholeImageSettings& settings, int layer) {
  const double divided = settings.points_stride / std::pow(settings.crop_downscale_factor, layer);
  return std::max(1, static_cast<int>(divided));
}

void check_settings(const WholeImageSettings& settings) {
  for (const Setting& each : all_settings()) {
    const auto value = std::visit([&](auto field) { return static_cast<double>(settings.*field); }, each.field);
    check_number(each.name, value, each.least, each.most);
  }
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

}  // namespace internal

void WholeImageSettings::set(const std::string& name, const std::string& value) {
  if (name == "mode") {
    internal::set_mode(*this, value);
  } else {
    std::visit([&](auto field) { internal::read(name, value, this->*field); }, internal::setting_named(name).field);
  }
}

}  // namespace samdeploy

#include "asked.hpp"

namespace cli {
namespace {

int depth(const Json& value) { return value.is_array() ? 1 + (value.empty() ? 0 : depth(value[0])) : 0; }

/// Rows of `width` numbers; a single one may stand alone.
std::vector<std::vector<double>> rows(const Json& given, std::size_t width, const std::string& name) {
  const Json list = depth(given) == 1 ? Json::array({given}) : given;
  std::vector<std::vector<double>> found;
  for (const Json& row : list) {
    bool fits = row.is_array() && row.size() == width;
    for (std::size_t i = 0; fits && i < width; i++) fits = row[i].is_number();
    if (!fits) {
      refuse(name + "=" + given.dump() + "; expected " + (width == 2 ? "[x, y]" : "[x1, y1, x2, y2]") +
             " or a list of such.");
    }
    found.push_back(row.get<std::vector<double>>());
  }
  return found;
}

std::vector<int> labels_of(const Json& given) {
  std::vector<int> labels;
  for (const Json& label : given.is_array() ? given : Json::array({given})) {
    if (!label.is_number_integer()) refuse("labels=" + given.dump() + "; expected 1 (foreground) or 0 (background).");
    labels.push_back(label.get<int>());
  }
  return labels;
}

}  // namespace

std::vector<samdeploy::Prompt> prompts_of(const Arguments& arguments) {
  const Json points = arguments.list("points");
  Json labels = arguments.list("labels");
  const Json boxes = arguments.list("bboxes");
  if (points.is_null() && !labels.is_null()) {
    refuse("labels=" + labels.dump() + " came without points; give one label each.");
  }
  std::vector<samdeploy::Prompt> prompts;
  if (!points.is_null()) {
    Json groups = Json::array();
    if (depth(points) > 2) {
      groups = points;
    } else if (depth(labels) == 2 && labels.size() == 1) {
      groups.push_back(points);
    } else {
      for (const auto& row : rows(points, 2, "points")) groups.push_back(Json::array({row}));
    }
    if (!labels.is_null() && depth(labels) == 1 && groups.size() == 1) labels = Json::array({labels});
    if (!labels.is_null() && labels.size() != groups.size()) {
      refuse(std::to_string(labels.size()) + " labels for " + std::to_string(groups.size()) +
             " prompts; give one label per point: a prompt of several points is written "
             "points=[[[x, y], [x, y]]] labels=[[1, 0]].");
    }
    for (std::size_t i = 0; i < groups.size(); i++) {
      samdeploy::Prompt prompt;
      for (const auto& row : rows(groups[i], 2, "points")) prompt.points.push_back({row[0], row[1]});
      if (!labels.is_null()) prompt.labels = labels_of(labels[i]);
      prompts.push_back(std::move(prompt));
    }
  }
  if (!boxes.is_null()) {
    const auto given = rows(boxes, 4, "bboxes");
    if (!points.is_null() && given.size() != prompts.size()) {
      refuse("prompts of different counts (" + std::to_string(prompts.size()) + " x points, " +
             std::to_string(given.size()) + " x box) cannot be paired; give equally many.");
    }
    prompts.resize(given.size());
    for (std::size_t i = 0; i < given.size(); i++) {
      prompts[i].box = samdeploy::Box{given[i][0], given[i][1], given[i][2], given[i][3]};
    }
  }
  return prompts;
}

samdeploy::Model open_model(const Arguments& arguments) {
  samdeploy::OpenOptions options;
  options.backend = arguments.text("backend");
  options.device = arguments.text("device", options.device);
  options.precision = arguments.text("precision", options.precision);
  options.threads = arguments.whole("threads");
  options.cache = arguments.text("cache");
  return samdeploy::Model::open(arguments.needed("model"), options);
}

samdeploy::WholeImageSettings settings_of(const Arguments& arguments, const samdeploy::Model& model) {
  samdeploy::WholeImageSettings settings = model.whole_image();
  for (const auto& [name, value] : arguments.settings()) settings.set(name, value);
  return settings;
}

}  // namespace cli

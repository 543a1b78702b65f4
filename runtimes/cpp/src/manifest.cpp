#include "manifest.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "settings.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* manifest_name = "bundle.json";
constexpr std::uint64_t longest_manifest = 4 << 20;
constexpr int schema_version = 1;
constexpr std::int64_t most_image_size = 8192;
constexpr std::int64_t most_golden_side = 4096;
constexpr double most_pad = 1e6;
constexpr std::int64_t most_bytes = std::int64_t{1} << 36;

std::string shown(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 80);
}

/// Walks through a manifest; whatever does not fit is refused with the bundle's name.
class Checked {
 public:
  explicit Checked(std::string folder) : folder_(std::move(folder)) {}

  Manifest manifest(const Json& root) const {
    if (!root.is_object()) refuse_value(manifest_name, root, "an object");
    const Json version = root.value("schema_version", Json());
    if (version != schema_version) {
      refuse(Fault::bundle, "'", folder_, "' has schema version ", shown(version), ", this samdeploy reads ",
             schema_version, "; upgrade samdeploy or export the bundle again.");
    }
    Manifest manifest;
    manifest.architecture = text_of(root, "architecture");
    manifest.format = text_of(root, "format");
    manifest.runtime = text_of(root, "runtime");
    manifest.precision = text_of(root, "precision");
    manifest.image_size = static_cast<int>(whole(root, "image_size", 16, most_image_size));
    // Sides are halved several times over: what one graph rounds down, another would not.
    if (manifest.image_size % 16 != 0) refuse_value("image_size", root["image_size"], "a multiple of 16");
    manifest.family = family(root.contains("family") ? text_of(root, "family") : "sam");
    manifest.steps = manifest.family.steps;
    const Json preprocess = root.value("preprocess", Json());
    if (!preprocess.is_null()) manifest.steps = steps(preprocess);
    const Json source = root.value("source", Json::object());
    if (source.is_object() && source.contains("licence")) manifest.licence = text_of(source, "licence", 0);
    manifest.whole_image = whole_image(root.value("whole_image", Json::object()), manifest.family.whole_image);
    manifest.graphs = graphs(list(root, "graphs", 16), manifest.family);
    check_sizes(manifest, whole(root, "embedding_channels", 1, 1 << 16));
    if (const Json told = root.value("golden", Json()); !told.is_null()) manifest.golden = golden(told);
    return manifest;
  }

 private:
  Family family(const std::string& name) const {
    std::string known;
    for (const Family& each : families()) {
      if (each.name == name) return each;
      known += (known.empty() ? "" : ", ") + each.name;
    }
    refuse(Fault::bundle, "'", folder_, "' holds a model of family '", name, "'; this library runs ", known, ".");
  }

  Steps steps(const Json& told) const {
    if (!told.is_object()) refuse_value("preprocess", told, "an object");
    Steps steps;
    for (const auto& [name, value] : told.items()) {
      if (name == "resize") {
        steps.square = choice(name, value, {"fit", "square"}) == 1;
      } else if (name == "resampling") {
        steps.resampling = static_cast<Resampling>(choice(name, value, {"bilinear", "bicubic", "area"}));
      } else if (name == "rounding") {
        steps.rounding = static_cast<Rounding>(choice(name, value, {"nearest", "down", "none"}));
      } else if (name == "scaling") {
        steps.min_max = choice(name, value, {"none", "min-max"}) == 1;
      } else if (name == "pad") {
        if (!value.is_array() || value.size() != 3) cannot(name, value, "three numbers");
        for (std::size_t i = 0; i < 3; i++) {
          if (!value[i].is_number() || !(std::abs(value[i].get<double>()) <= most_pad)) {
            cannot(name, value, "three numbers");
          }
          steps.pad[i] = value[i].get<float>();
        }
      } else if (name != "mean" && name != "std") {  // these two are inside the graph
        cannot(name, value, "resize, resampling, rounding, scaling, pad");
      }
    }
    return steps;
  }

  /// `settings` of the family, and what the model tells otherwise.
  WholeImageSettings whole_image(const Json& told, WholeImageSettings settings) const {
    if (!told.is_object()) refuse_value("whole_image", told, "an object");
    try {
      for (const auto& [name, value] : told.items()) {
        settings.set(name, name == "mode" && value.is_string() ? value.get<std::string>() : shown(value));
      }
      check_settings(settings);
    } catch (const Error& error) {
      refuse(Fault::bundle, "bundle '", folder_, "' recommends settings that cannot be: ", error.what());
    }
    return settings;
  }

  Golden golden(const Json& told) const {
    if (!told.is_object()) refuse_value("golden", told, "an object");
    Golden golden;
    golden.picture = {static_cast<int>(whole(told, "height", 1, most_golden_side)),
                      static_cast<int>(whole(told, "width", 1, most_golden_side))};
    const std::vector<float> point = numbers(told, "point", 2, 2);
    golden.point = {static_cast<double>(point[0]), static_cast<double>(point[1])};
    golden.iou = numbers(told, "iou_predictions", 64, 1);
    const Json mask = told.value("mask", Json());
    if (!mask.is_object() || mask.value("size", Json()) != Json{golden.picture.height, golden.picture.width}) {
      refuse_value("golden mask", mask, "run lengths of its picture");
    }
    const Json counts = mask.value("counts", Json());
    if (!counts.is_string()) refuse_value("golden mask counts", counts, "a text");
    try {
      golden.mask = Runs::from_coco({golden.picture, counts.get<std::string>()});
    } catch (const Error&) {
      refuse_value("golden mask counts", counts, "COCO's run lengths of its size");
    }
    return golden;
  }

  std::vector<float> numbers(const Json& object, const char* name, std::size_t most, std::size_t least) const {
    std::vector<float> values;
    for (const Json& value : list(object, name, most, least)) {
      if (!value.is_number()) refuse_value(name, value, "a number");
      values.push_back(value.get<float>());
    }
    return values;
  }

  std::size_t choice(const std::string& name, const Json& value, const Names& known) const {
    const auto found = std::find(known.begin(), known.end(), value.is_string() ? value.get<std::string>() : "");
    if (found == known.end()) {
      std::string all;
      for (const std::string& each : known) all += (all.empty() ? "" : ", ") + each;
      cannot(name, value, all);
    }
    return static_cast<std::size_t>(found - known.begin());
  }

  [[noreturn]] void cannot(const std::string& name, const Json& value, const std::string& known) const {
    refuse(Fault::bundle, "'", folder_, "' wants images with ", name, " ", shown(value),
           ", which this library cannot do (it can ", known, "); run the bundle with Python.");
  }

  std::map<std::string, GraphRecord> graphs(const Json& told, const Family& family) const {
    std::map<std::string, GraphRecord> graphs;
    for (const Json& each : told) {
      if (!each.is_object()) refuse_value("graph", each, "an object");
      GraphRecord graph;
      graph.role = text_of(each, "role");
      if (std::find(roles.begin(), roles.end(), graph.role) == roles.end() || graphs.count(graph.role) != 0) {
        refuse_value("graph", each["role"], "encoder, decoder, prepare, scorer, mask_head, each once");
      }
      for (const Json& file : list(each, "files", 256)) graph.files.push_back(file_of(file));
      const GraphNames expected = tensors_of(family, graph.role);
      graph.inputs = tensors(list(each, "inputs", 16), expected.inputs, graph.role);
      graph.outputs = tensors(list(each, "outputs", 16), expected.outputs, graph.role);
      const Json options = each.value("options", Json());
      graph.fixed_shapes = options.is_object() && options.contains("prompts_and_points");
      graphs.emplace(graph.role, std::move(graph));
    }
    const std::size_t wanted = graphs.size() > 2 ? roles.size() : 2;
    for (std::size_t i = 0; i < wanted; i++) {
      if (graphs.count(roles[i]) == 0) {
        refuse(Fault::bundle, "bundle '", folder_, "' has no ", roles[i], " graph; export it again.");
      }
    }
    return graphs;
  }

  std::vector<TensorRecord> tensors(const Json& told, const Names& expected, const std::string& role) const {
    std::vector<TensorRecord> tensors;
    std::set<std::string> names;
    for (const Json& each : told) {
      if (!each.is_object()) refuse_value("tensor", each, "an object");
      TensorRecord tensor;
      tensor.name = text_of(each, "name");
      if (each.value("dtype", Json()) != "float32") {
        refuse_value("dtype of '" + tensor.name + "'", each.value("dtype", Json()), "float32");
      }
      const Json& shape = list(each, "shape", 8, 0);
      for (const Json& side : shape) {
        const bool fits = side.is_string() || (side.is_number_integer() && side >= 1 && side < (std::int64_t{1} << 31));
        if (!fits) refuse_value("shape of '" + tensor.name + "'", shape, "whole numbers and names");
        tensor.shape.push_back(side.is_string() ? -1 : side.get<std::int64_t>());
        tensor.sides.push_back(side.is_string() ? side.get<std::string>() : side.dump());
      }
      tensor.per_prompt = !shape.empty() && shape[0] == "prompts";
      names.insert(tensor.name);
      tensors.push_back(std::move(tensor));
    }
    if (names != std::set<std::string>(expected.begin(), expected.end()) || tensors.size() != expected.size()) {
      refuse_value(role + " tensors", Json(names), shown(Json(expected)));
    }
    return tensors;
  }

  FileRecord file_of(const Json& told) const {
    if (!told.is_object()) refuse_value("file", told, "an object");
    FileRecord file;
    file.path = text_of(told, "path");
    const bool safe = std::none_of(file.path.begin(), file.path.end(),
                                   [](char c) { return static_cast<unsigned char>(c) < 32 || c == ':' || c == '\\'; });
    const fs::path path = file.path;
    const bool inside = std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
    if (!safe || !inside || path.is_absolute()) {
      refuse(Fault::bundle, "bundle '", folder_, "' names '", shown(file.path),
             "', which is a link or outside its folder; do not use it.");
    }
    file.bytes = static_cast<std::uint64_t>(whole(told, "bytes", 0, most_bytes));
    file.sha256 = text_of(told, "sha256");
    if (file.sha256.size() != 64 || file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
      refuse_value("sha256 of '" + file.path + "'", told["sha256"], "64 hex digits");
    }
    return file;
  }

  void check_sizes(const Manifest& manifest, std::int64_t channels) const {
    for (const auto& [role, graph] : manifest.graphs) {
      const auto expected = shapes_of(role, manifest.image_size, channels);
      for (const auto* tensors : {&graph.inputs, &graph.outputs}) {
        for (const TensorRecord& tensor : *tensors) {
          const Sides& wanted = expected.at(tensor.name);
          const bool fits = std::equal(tensor.sides.begin(), tensor.sides.end(), wanted.begin(), wanted.end(),
                                       [](const std::string& told, const std::string& side) {
                                         return told == side || (side.empty() && is_number(told));
                                       });
          if (!fits) {
            refuse_value(text(role, " '", tensor.name, "'"), Json(tensor.sides),
                         shown(Json(wanted)) + " (\"\" is any number)");
          }
        }
      }
    }
  }

  std::string text_of(const Json& object, const char* name, std::size_t least = 1) const {
    const Json value = object.value(name, Json());
    if (!value.is_string() || value.get_ref<const std::string&>().size() < least ||
        value.get_ref<const std::string&>().size() > 1024) {
      refuse_value(name, value, "a text");
    }
    return value.get<std::string>();
  }

  std::int64_t whole(const Json& object, const char* name, std::int64_t least, std::int64_t most) const {
    const Json value = object.value(name, Json());
    if (!value.is_number_integer() || value < least || value > most) {
      refuse_value(name, value, text("a whole number from ", least, " to ", most));
    }
    return value.get<std::int64_t>();
  }

  const Json& list(const Json& object, const char* name, std::size_t most, std::size_t least = 1) const {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_array() || found->size() < least || found->size() > most) {
      refuse_value(name, found == object.end() ? Json() : *found, text("a list of ", least, " to ", most));
    }
    return *found;
  }

  [[noreturn]] void refuse_value(const std::string& what, const Json& value, const std::string& expected) const {
    refuse(Fault::bundle, "'", folder_, "' tells ", what, " ", shown(value), "; expected ", expected,
           ", export the bundle again.");
  }

  std::string folder_;
};

}  // namespace

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / manifest_name;
  std::error_code none;
  if (!fs::is_regular_file(path, none)) {
    refuse(Fault::bundle, "'", folder.string(), "' is not a bundle: it has no readable ", manifest_name,
           "; make one with 'samdeploy export'.");
  }
  const auto invalid = [&](const std::string& why) {
    refuse(Fault::bundle, "'", path.string(), "' is not a valid manifest (", why, "); export the bundle again.");
  };
  const std::uintmax_t bytes = fs::file_size(path, none);
  if (none || bytes > longest_manifest) invalid(text("it has more than ", longest_manifest, " bytes"));
  std::string content(static_cast<std::size_t>(bytes), '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (!file) invalid("it cannot be read");
  // Deeper nesting than any manifest has would only cost memory.
  const auto shallow = [](int depth, Json::parse_event_t, Json&) {
    if (depth > 64) throw std::length_error("nested too deeply");
    return true;
  };
  Json json;
  try {
    json = Json::parse(content, shallow);
  } catch (const std::exception& error) {
    invalid(reason(error));
  }
  return Checked(folder.string()).manifest(json);
}

}  // namespace samdeploy::internal

// samdeploy-cli: segment image files and write what was found, as `samdeploy predict` does.
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "samdeploy/samdeploy.hpp"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_FAILURE_USERMSG
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#include <stb/stb_image.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using samdeploy::Fault;

constexpr const char* usage =
    "samdeploy-cli model=BUNDLE source=IMAGE [points=[[x,y],...]] [labels=[1,...]] [bboxes=[[x1,y1,x2,y2],...]]\n"
    "              [multimask=true] [output=FOLDER] [backend=NAME] [device=NAME] [threads=N] [precision=NAME]\n"
    "\n"
    "Segments an image and writes FOLDER/NAME.json, as 'samdeploy predict' does; FOLDER is runs/predict, predict2...\n"
    "unless told. Points and boxes that are given together are paired.\n";

[[noreturn]] void refuse(const std::string& sentence) { throw samdeploy::Error(Fault::input, sentence); }

/// Arguments of the form name=value.
class Arguments {
 public:
  Arguments(int count, char** given) {
    const std::set<std::string> known{"model",  "source", "points",  "labels", "bboxes",   "multimask",
                                      "output", "device", "backend", "threads", "precision"};
    for (int i = 1; i < count; i++) {
      const std::string argument = given[i];
      const std::size_t equals = argument.find('=');
      const std::string name = argument.substr(0, equals);
      if (equals == std::string::npos || known.count(name) == 0) {
        std::string all;
        for (const std::string& each : known) all += (all.empty() ? "" : ", ") + each;
        refuse("unknown argument '" + argument + "'; expected name=value with a name of " + all + ".");
      }
      values_[name] = argument.substr(equals + 1);
    }
  }

  std::string text(const std::string& name, const std::string& otherwise = "") const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
  }

  std::string needed(const std::string& name) const {
    if (text(name).empty()) refuse("no " + name + " given; pass " + name + "=...");
    return text(name);
  }

  /// Numbers in lists, or null.
  Json list(const std::string& name) const {
    if (values_.count(name) == 0) return nullptr;
    Json value = Json::parse(text(name), nullptr, false);
    if (!value.is_array()) refuse(name + "=" + text(name) + "; expected numbers in square brackets.");
    return value;
  }

  int whole(const std::string& name) const {
    const std::string value = text(name, "0");
    if (value.empty() || value.size() > 6 || value.find_first_not_of("0123456789") != std::string::npos) {
      refuse(name + "=" + value + "; expected a whole number.");
    }
    return std::stoi(value);
  }

  bool flag(const std::string& name) const {
    const std::string value = text(name, "false");
    if (value != "true" && value != "false") refuse(name + "=" + value + "; expected true or false.");
    return value == "true";
  }

 private:
  std::map<std::string, std::string> values_;
};

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

/// Each point is a prompt, a list of points is one; `[N, 2]` points with `[[...]]` labels are one prompt of `N`.
std::vector<samdeploy::Prompt> prompts_of(const Arguments& arguments) {
  const Json points = arguments.list("points");
  Json labels = arguments.list("labels");
  const Json boxes = arguments.list("bboxes");
  if (points.is_null() && !labels.is_null()) refuse("labels=" + labels.dump() + " came without points; give one label each.");
  if (points.is_null() && boxes.is_null()) {
    refuse("no prompt given; pass points or bboxes. Whole images are segmented by 'samdeploy predict' of Python.");
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

struct Pixels {
  std::unique_ptr<stbi_uc, void (*)(void*)> data;
  int width;
  int height;
};

Pixels read_image(const std::string& path) {
  int width = 0;
  int height = 0;
  int channels = 0;
  stbi_uc* data = stbi_load(path.c_str(), &width, &height, &channels, 3);
  if (data == nullptr) refuse("'" + path + "' cannot be read as an image (" + stbi_failure_reason() + "); check the file.");
  return {{data, stbi_image_free}, width, height};
}

double rounded(float value) { return std::round(static_cast<double>(value) * 1e6) / 1e6; }

/// As Python's `Masks.to_json`.
Json record_of(const std::vector<samdeploy::Mask>& masks, int height, int width) {
  Json found = Json::array();
  for (const samdeploy::Mask& mask : masks) {
    const samdeploy::Box box = mask.box();
    const samdeploy::RunLengths runs = mask.run_lengths();
    found.push_back({{"score", rounded(mask.score())},
                     {"box", {box.x1, box.y1, box.x2, box.y2}},
                     {"area", mask.area()},
                     {"prompt", mask.prompt()},
                     {"segmentation", {{"size", {runs.size.height, runs.size.width}}, {"counts", runs.counts}}}});
  }
  return {{"size", {height, width}}, {"masks", found}};
}

/// The first of runs/predict, runs/predict2... that is free, or the one that was asked for.
fs::path output_folder(const std::string& asked) {
  try {
    if (!asked.empty()) {
      fs::create_directories(asked);
      return asked;
    }
    fs::create_directories("runs");
    for (int number = 1;; number++) {
      const fs::path folder = fs::path("runs") / ("predict" + (number == 1 ? "" : std::to_string(number)));
      if (fs::create_directory(folder)) return folder;
    }
  } catch (const fs::filesystem_error&) {
    throw samdeploy::Error(Fault::output, "output '" + asked + "' cannot be written to; choose another folder.");
  }
}

void write_record(const fs::path& path, const Json& record) {
  fs::path unfinished = path;
  unfinished += ".unfinished";
  std::ofstream file(unfinished, std::ios::binary);
  file << record.dump();
  file.close();
  std::error_code failed;
  if (file) fs::rename(unfinished, path, failed);
  if (!file || failed) {
    fs::remove(unfinished, failed);
    throw samdeploy::Error(Fault::output, "'" + path.string() + "' cannot be written; check the space on the disk.");
  }
}

void segment(const Arguments& arguments) {
  const std::string bundle = arguments.needed("model");
  const std::string source = arguments.needed("source");
  const auto prompts = prompts_of(arguments);
  samdeploy::OpenOptions options;
  options.backend = arguments.text("backend");
  options.device = arguments.text("device", options.device);
  options.precision = arguments.text("precision", options.precision);
  options.threads = arguments.whole("threads");
  const Pixels image = read_image(source);
  const auto model = samdeploy::Model::open(bundle, options);
  const auto embedding = model.encode({image.data.get(), image.width, image.height});
  const auto masks = model.predict(embedding, prompts, arguments.flag("multimask"));
  Json record{{"image", source}, {"model", bundle}};
  record.update(record_of(masks, image.height, image.width));
  const fs::path path = output_folder(arguments.text("output")) / (fs::path(source).stem().string() + ".json");
  write_record(path, record);
  std::printf("%s: %zu masks, %s\n", source.c_str(), masks.size(), path.string().c_str());
}

}  // namespace

int main(int count, char** given) {
  if (count == 1 || std::string(given[1]) == "--help") {
    std::fputs(usage, count == 1 ? stderr : stdout);
    return count == 1 ? 2 : 0;
  }
  try {
    segment(Arguments(count, given));
    return 0;
  } catch (const samdeploy::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

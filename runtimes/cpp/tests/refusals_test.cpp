// Bad input gets one sentence, and nothing half-written is left.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <limits>
#include <set>
#include <thread>

#include "cases.hpp"
#include "hash.hpp"
#include "npz.hpp"
#include "onnx_file.hpp"
#include "shapes.hpp"

namespace fs = std::filesystem;
using samdeploy::Fault;

namespace {

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

/// Write a file that is what its manifest says.
void put(const fs::path& bundle, Json& file, const std::string& content) {
  const fs::path path = bundle / file["path"].get<std::string>();
  write(path, content);
  file["bytes"] = content.size();
  file["sha256"] = samdeploy::internal::sha256(path);
}

/// Files that are what their manifest says, and no graph.
void empty_graph(const fs::path& bundle, const std::string& role) {
  Json manifest = Json::parse(read(bundle / "bundle.json"));
  for (Json& graph : manifest["graphs"]) {
    if (graph["role"] != role) continue;
    for (Json& file : graph["files"]) {
      const bool xml = fs::path(file["path"].get<std::string>()).extension() == ".xml";
      put(bundle, file, xml ? "\xEF\xBB\xBF\n<net/>" : "");
    }
  }
  write(bundle / "bundle.json", manifest.dump());
}

/// What a manifest tells of a model for images of another size, all of it in agreement.
void tell_size(Json& manifest, int size) {
  manifest["image_size"] = size;
  for (Json& graph : manifest["graphs"]) {
    for (const char* side : {"inputs", "outputs"}) {
      for (Json& tensor : graph[side]) {
        const auto shapes = samdeploy::internal::shapes_of(graph["role"], size, manifest["embedding_channels"]);
        const auto& sides = shapes.at(tensor["name"].get<std::string>());
        for (std::size_t i = 0; i < sides.size(); i++) {
          if (samdeploy::internal::is_number(sides[i])) tensor["shape"][i] = std::stoll(sides[i]);
        }
      }
    }
  }
}

/// Copies of a bundle, each changed in one way.
class Bundles {
 public:
  Bundles(fs::path bundle, std::string backend)
      : bundle_(std::move(bundle)), backend_(std::move(backend)), copy_(bundle_.string() + "_changed") {}
  ~Bundles() { fs::remove_all(copy_); }

  void refused(const std::string& expected, const std::function<void(const fs::path&)>& change,
               Fault fault = Fault::bundle) const {
    make(change);
    check_refused(fault, expected, [&] { samdeploy::Model::open(copy_.string(), options()); });
  }

  /// Opened in spite of what was changed.
  samdeploy::Model opened_after(const std::function<void(const fs::path&)>& change) const {
    make(change);
    return samdeploy::Model::open(copy_.string(), options());
  }

  /// The same, of what was changed in the manifest.
  samdeploy::Model opened(const std::function<void(Json&)>& change) const { return opened_after(in_manifest(change)); }

  /// With a manifest in which `change` was made.
  void manifest_refused(const std::string& expected, const std::function<void(Json&)>& change) const {
    refused(expected, in_manifest(change));
  }

  /// The processor opens it, and only a proof refuses it. A device that is not spelled as the processor is proved when
  /// it is opened; OpenVINO has such a spelling here.
  void unproved(Fault fault, const std::string& expected, const std::function<void(Json&)>& change) const {
    make(in_manifest(change));
    auto asked = options();
    check_refused(fault, expected, [&] { samdeploy::Model::open(copy_.string(), asked).prove(); });
    if (backend_ != "openvino") return;
    asked.device = "CPU";
    check_refused(fault, expected, [&] { samdeploy::Model::open(copy_.string(), asked); });
    asked.unproved = true;
    samdeploy::Model::open(copy_.string(), asked);
  }

  samdeploy::OpenOptions options() const {
    samdeploy::OpenOptions options;
    options.backend = backend_;
    return options;
  }

  /// Where the copy is.
  const fs::path& copy() const { return copy_; }

 private:
  using Change = std::function<void(const fs::path&)>;

  static Change in_manifest(const std::function<void(Json&)>& change) {
    return [change](const fs::path& copy) {
      Json manifest = Json::parse(read(copy / "bundle.json"));
      change(manifest);
      write(copy / "bundle.json", manifest.dump());
    };
  }

  void make(const Change& change) const {
    fs::remove_all(copy_);
    fs::copy(bundle_, copy_, fs::copy_options::recursive);
    change(copy_);
  }

  fs::path bundle_;
  std::string backend_;
  fs::path copy_;
};

void test_bundles(const Bundles& bundles) {
  const auto first_file = [](const fs::path& copy) {
    return copy / Json::parse(read(copy / "bundle.json"))["graphs"][0]["files"][0]["path"].get<std::string>();
  };
  bundles.refused("is not a bundle", [](const fs::path& copy) { fs::remove(copy / "bundle.json"); });
  bundles.refused("is not a bundle", [](const fs::path& copy) { fs::remove_all(copy); });
  bundles.refused("is not a valid manifest", [](const fs::path& copy) { write(copy / "bundle.json", "{\"a\": "); });
  bundles.refused("is not a valid manifest", [](const fs::path& copy) {
    write(copy / "bundle.json", std::string(100000, '[') + std::string(100000, ']'));
  });
  bundles.refused("is not a valid manifest (it has more than",
                  [](const fs::path& copy) { write(copy / "bundle.json", std::string((4 << 20) + 1, ' ')); });
  bundles.refused("lacks", [&](const fs::path& copy) { fs::remove(first_file(copy)); });
  bundles.refused("bytes, the manifest says", [&](const fs::path& copy) {
    const auto path = first_file(copy);
    fs::resize_file(path, fs::file_size(path) / 2);
  });
  bundles.refused("was changed: its SHA-256", [&](const fs::path& copy) {
    std::string content = read(first_file(copy));
    content[content.size() / 2] ^= 1;
    write(first_file(copy), content);
  });
  bundles.refused("is a link or outside its folder", [&](const fs::path& copy) {
    const auto path = first_file(copy);
    fs::rename(path, copy / "elsewhere");
    fs::create_symlink("elsewhere", path);
  });
  bundles.manifest_refused("is a link or outside its folder",
                           [](Json& m) { m["graphs"][0]["files"][0]["path"] = "../outside.xml"; });
  bundles.manifest_refused("is a link or outside its folder",
                           [](Json& m) { m["graphs"][0]["files"][0]["path"] = "/etc/passwd"; });
  bundles.manifest_refused("is a link or outside its folder",
                           [](Json& m) { m["graphs"][0]["files"][0]["path"] = "a\\b.xml"; });
  bundles.manifest_refused("schema version 2", [](Json& m) { m["schema_version"] = 2; });
  bundles.manifest_refused("family 'sam9'", [](Json& m) { m["family"] = "sam9"; });
  // Divided, they would be rounded: a mask would be read by more cells along a side than a graph gives.
  for (int size : {18, 20, 264}) {
    bundles.manifest_refused("image_size " + std::to_string(size) + "; expected a multiple of 16",
                             [&](Json& m) { tell_size(m, size); });
  }
  bundles.manifest_refused("is a graph of fixed shapes", [](Json& m) {
    m["graphs"][1]["options"]["prompts_and_points"] = {{"decoder", {1, 16}}};
  });
  bundles.manifest_refused("image_size 0", [](Json& m) { m["image_size"] = 0; });
  bundles.manifest_refused("image_size \"256\"", [](Json& m) { m["image_size"] = "256"; });
  bundles.manifest_refused("expected a list", [](Json& m) { m["graphs"] = Json::object(); });
  bundles.manifest_refused("has no decoder graph", [](Json& m) { m["graphs"] = Json::array({m["graphs"][0]}); });
  bundles.manifest_refused("each once", [](Json& m) { m["graphs"].push_back(m["graphs"][0]); });
  bundles.manifest_refused("expected a list", [](Json& m) { m["graphs"][0]["files"] = Json::array(); });
  bundles.manifest_refused("expected a list", [](Json& m) { m["graphs"][0]["inputs"] = Json::array(); });
  bundles.manifest_refused("expected encoder, decoder", [](Json& m) { m["graphs"][0]["role"] = "detector"; });
  bundles.manifest_refused("expected an object", [](Json& m) { m["graphs"][0] = "encoder"; });
  bundles.manifest_refused("bytes -1", [](Json& m) { m["graphs"][0]["files"][0]["bytes"] = -1; });
  bundles.manifest_refused("bytes 18446744073709551615",
                           [](Json& m) { m["graphs"][0]["files"][0]["bytes"] = ~std::uint64_t{0}; });
  bundles.manifest_refused("image_size 18446744073709551615", [](Json& m) { m["image_size"] = ~std::uint64_t{0}; });
  bundles.manifest_refused("image_size 256.5", [](Json& m) { m["image_size"] = 256.5; });
  bundles.manifest_refused("embedding_channels 0", [](Json& m) { m["embedding_channels"] = 0; });
  bundles.manifest_refused("a text", [](Json& m) { m["architecture"] = std::string(5000, 'a'); });
  bundles.manifest_refused("is a link or outside its folder",
                           [](Json& m) { m["graphs"][0]["files"][0]["path"] = "."; });
  bundles.manifest_refused("is a link or outside its folder",
                           [](Json& m) { m["graphs"][0]["files"][0]["path"] = std::string("a\0b", 3); });
  bundles.manifest_refused("export", [](Json& m) { m["graphs"][0]["files"][0]["path"] = std::string(5000, 'x'); });
  bundles.manifest_refused("64 hex digits", [](Json& m) { m["graphs"][0]["files"][0]["sha256"] = "00"; });
  bundles.manifest_refused("encoder tensors", [](Json& m) { m["graphs"][0]["inputs"][0]["name"] = "picture"; });
  bundles.manifest_refused("dtype of 'image'", [](Json& m) { m["graphs"][0]["inputs"][0]["dtype"] = "int8"; });
  bundles.manifest_refused("encoder 'image'", [](Json& m) { m["graphs"][0]["inputs"][0]["shape"][2] = 128; });
  bundles.manifest_refused("encoder 'image'", [](Json& m) { m["graphs"][0]["inputs"][0]["shape"] = Json::array(); });
  bundles.manifest_refused("shape of 'image'", [](Json& m) { m["graphs"][0]["inputs"][0]["shape"][2] = 1LL << 40; });
  bundles.manifest_refused("shape of 'image'", [](Json& m) { m["graphs"][0]["inputs"][0]["shape"][2] = 0; });
  // What a mask is read by: any other number would be read beyond.
  for (const Json& side : {Json(3), Json("prompts"), Json("masks")}) {
    bundles.manifest_refused("decoder 'low_res_masks'",
                             [&](Json& m) { m["graphs"][1]["outputs"][0]["shape"][1] = side; });
    bundles.manifest_refused("scorer 'iou_predictions'",
                             [&](Json& m) { m["graphs"][3]["outputs"][0]["shape"][1] = side; });
  }
  bundles.manifest_refused("decoder 'low_res_masks'", [](Json& m) { m["graphs"][1]["outputs"][0]["shape"][2] = 32; });
  bundles.manifest_refused("mask_head 'low_res_masks'", [](Json& m) { m["graphs"][4]["outputs"][0]["shape"][3] = 4; });
  bundles.manifest_refused("scorer 'mask_scale'", [](Json& m) { m["graphs"][3]["outputs"][2]["shape"][2] = "values"; });
  bundles.manifest_refused("which this library cannot do", [](Json& m) { m["preprocess"]["resampling"] = "spline"; });
  bundles.manifest_refused("pad", [](Json& m) { m["preprocess"] = {{"pad", {1, 2}}}; });
  bundles.manifest_refused("recommends settings that cannot be: points_stride=0", [](Json& m) {
    m["whole_image"] = {{"points_stride", 0}};
  });
  bundles.manifest_refused("unknown setting 'stride'", [](Json& m) { m["whole_image"] = {{"stride", 9}}; });
  bundles.manifest_refused("conf_thres=\"high\"", [](Json& m) { m["whole_image"] = {{"conf_thres", "high"}}; });
  bundles.manifest_refused("tells golden 7", [](Json& m) { m["golden"] = 7; });
  bundles.manifest_refused("golden mask", [](Json& m) { m["golden"]["mask"]["size"][0] = 1; });
  bundles.manifest_refused("golden mask counts", [](Json& m) { m["golden"]["mask"]["counts"] = "00"; });
  bundles.manifest_refused("iou_predictions", [](Json& m) { m["golden"]["iou_predictions"][0] = "high"; });
  bundles.manifest_refused("pad", [](Json& m) { m["preprocess"] = {{"pad", {1, 2, 1e300}}}; });
  bundles.refused("is not a valid manifest",
                  [](const fs::path& copy) { write(copy / "bundle.json", "{\"schema_version\": 1e999}"); });
  bundles.refused("is not a valid manifest", [](const fs::path& copy) { write(copy / "bundle.json", "\xff\xfe{}"); });
  bundles.refused("schema version [1]", [](const fs::path& copy) {
    write(copy / "bundle.json", "{\"schema_version\": 1, \"schema_version\": [1]}");
  });
  // What is no file would be waited for, or read without end.
  bundles.refused("is no regular file", [&](const fs::path& copy) {
    fs::remove(first_file(copy));
    mkfifo(first_file(copy).c_str(), 0600);
  });
  bundles.refused("is not a bundle", [&](const fs::path& copy) {
    fs::remove(copy / "bundle.json");
    mkfifo((copy / "bundle.json").c_str(), 0600);
  });
  bundles.refused("is a link or outside its folder", [&](const fs::path& copy) {
    const auto path = first_file(copy);
    fs::remove(path);
    fs::create_symlink(path.filename(), path);
  });
  bundles.refused("export it again", [](const fs::path& copy) { empty_graph(copy, "encoder"); });
  // An ONNX file under the name of another format would not be searched for the files that it names.
  for (const char* content : {"\x08\x07\x12", "", "\xEF\xBB\xBF \n", " \x08<"}) {
    bundles.refused("is not OpenVINO's XML", [&](const fs::path& copy) {
      Json manifest = Json::parse(read(copy / "bundle.json"));
      Json& file = manifest["graphs"][0]["files"][0];
      file["path"] = "encoder.xml";
      put(copy, file, content);
      write(copy / "bundle.json", manifest.dump());
    });
  }
}

/// However many files a manifest lists, and however often, few threads read each of them once.
void test_listed(const Bundles& bundles) {
  constexpr std::size_t most_files = 256;
  const auto list_more = [](Json& manifest) {
    const Json encoder = manifest["graphs"][0]["files"][0];
    for (Json& graph : manifest["graphs"]) {
      while (graph["files"].size() < most_files) graph["files"].push_back(encoder);
    }
  };
  std::atomic<bool> done{false};
  std::size_t most = 0;
  std::thread watching([&] {
    while (!done) {
      const fs::directory_iterator threads("/proc/self/task");
      most = std::max(most, static_cast<std::size_t>(std::distance(begin(threads), end(threads))));
    }
  });
  bundles.manifest_refused("lacks 'nothing'", [&](Json& m) {
    list_more(m);
    m["graphs"][0]["files"].back()["path"] = "nothing";
  });
  done = true;
  watching.join();
  check(most < most_files, "files that are read by " + std::to_string(most) + " threads");
  bundles.manifest_refused("twice, with different contents", [&](Json& m) {
    list_more(m);
    m["graphs"][1]["files"].back()["bytes"] = 7;
  });
}

/// What a family recommends where a manifest is silent, as in Python.
void test_recommended(const Cases& cases, const std::string& backend) {
  const auto recommended = [&](const char* name, const Json& told) {
    const Bundles bundles(cases.path(name), backend);
    return bundles.opened([&](Json& m) { m["whole_image"] = told; }).whole_image();
  };
  check(recommended("small_sam2", Json::object()).conf_thres == 0.8, "SAM 2's smallest score");
  check(recommended("small_sam2", {{"conf_thres", 0.5}}).conf_thres == 0.5, "a model's own smallest score");
  check(recommended("small_hq", {{"conf_thres", 0.5}}).best_only, "HQ-SAM's best mask of a point");
  check(!recommended("small_hq", {{"best_only", false}}).best_only, "a model's own masks of a point");
  check(recommended("small_sam", Json::object()).conf_thres == 0.88, "SAM's smallest score");
}

/// A graph that only some prompts need is opened by the first of them, which is told what is wrong with it.
void test_late(const Bundles& bundles, const samdeploy::ImageView& image) {
  const auto model = bundles.opened_after([](const fs::path& copy) { empty_graph(copy, "decoder"); });
  const auto embedding = model.encode(image);
  samdeploy::Prompt prompt;
  prompt.points = {{50, 50}};
  prompt.logits = model.predict(embedding, {prompt}).front().logits();
  for (int i = 0; i < 2; i++) {
    check_refused(Fault::bundle, "decoder", [&] { model.predict(embedding, {prompt}); });
  }
}

/// A graph that is opened late is the one that was checked: neither another folder's, when the process has moved, nor
/// what has taken its place since.
void test_moved(const Bundles& bundles, const samdeploy::ImageView& image) {
  const auto model = bundles.opened_after([](const fs::path&) {});
  const auto embedding = model.encode(image);
  samdeploy::Prompt click;
  click.points = {{50, 50}};
  samdeploy::Prompt prompt = click;
  prompt.logits = model.predict(embedding, {click}).front().logits();
  const fs::path before = fs::current_path();
  const fs::path folder = bundles.copy().parent_path();
  fs::current_path(folder);
  auto options = bundles.options();
  options.cache = "late_cache";
  const auto relative = samdeploy::Model::open(bundles.copy().filename().string(), options);
  fs::current_path(before);
  for (const auto& asked : {click, prompt}) {
    check(relative.predict(embedding, {asked}).size() == 1, "graphs that are opened from another folder");
  }
  check(fs::remove_all(folder / "late_cache") > 1 && !fs::exists("late_cache"), "a cache that is filled from another");

  const Json manifest = Json::parse(read(bundles.copy() / "bundle.json"));
  for (const Json& graph : manifest["graphs"]) {
    if (graph["role"] != "decoder") continue;
    const fs::path path = bundles.copy() / graph["files"].back()["path"].get<std::string>();
    std::string content = read(path);
    content[content.size() / 2] ^= 1;
    write(path, content);
  }
  for (int i = 0; i < 2; i++) {
    check_refused(Fault::bundle, "is not the one that was opened any more",
                  [&] { model.predict(embedding, {prompt}); });
  }
}

/// A golden answer that this device does not give.
void test_golden(const Bundles& bundles) {
  bundles.unproved(Fault::bundle, "holds no golden answer", [](Json& m) { m.erase("golden"); });
  bundles.unproved(Fault::runtime, "it rates the masks of the bundle's own click",
                   [](Json& m) { m["golden"]["iou_predictions"][3] = 0.9; });
  bundles.unproved(Fault::runtime, "it rates the masks", [](Json& m) { m["golden"]["iou_predictions"].erase(3); });
  bundles.unproved(Fault::runtime, "overlaps the right one by 0", [](Json& m) {
    m["golden"]["mask"]["counts"] = samdeploy::internal::Runs{{310, 400}, {310 * 400 - 5, 5}}.to_coco().counts;
  });
}

void test_options(const std::string& bundle) {
  const auto refused = [&](Fault fault, const std::string& expected, const samdeploy::OpenOptions& options) {
    check_refused(fault, expected, [&] { samdeploy::Model::open(bundle, options); });
  };
  refused(Fault::runtime, "without a backend 'tensorflow'", {"tensorflow", "cpu", 0, "fp32", false, ""});
  refused(Fault::runtime, "device 'tpu'", {"", "tpu", 0, "fp32", false, ""});
  refused(Fault::input, "threads=-1", {"", "cpu", -1, "fp32", false, ""});
  refused(Fault::input, "cache=" + bundle + "/bundle.json/kept is no folder",
          {"", "cpu", 0, "fp32", false, bundle + "/bundle.json/kept"});
  refused(Fault::input, "precision=int2", {"", "cpu", 0, "int2", false, ""});
}

void test_prompts(const Cases& cases, samdeploy::Model model) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto embedding = model.encode(cases.picture("scene").view());
  const auto refused = [&](const std::string& expected, const samdeploy::Prompt& prompt) {
    check_refused(Fault::input, expected, [&] { model.predict(embedding, {prompt}); });
  };
  samdeploy::Prompt prompt;
  refused("an empty Prompt", prompt);
  prompt.points = {{nan, 1}};
  refused("not finite", prompt);
  prompt.points = {{241, 10}};
  refused("point (241, 10) is outside the image; expected 0 <= x <= 240 and 0 <= y <= 180 in pixels.", prompt);
  prompt.points = {{10, 10}};
  prompt.labels = {1, 0};
  refused("2 labels for 1 points", prompt);
  prompt.labels = {2};
  refused("label 2", prompt);
  prompt = {};
  prompt.box = samdeploy::Box{50, 50, 20, 60};
  refused("has no area in the image", prompt);
  prompt.box = samdeploy::Box{0, 0, 500, 60};
  refused("box corner (500, 60)", prompt);
  prompt.box = samdeploy::Box{0, 0, nan, 60};
  refused("not finite", prompt);
  prompt = {};
  prompt.bitmap.resize(7);
  refused("a mask of 7 pixels", prompt);
  prompt = {};
  prompt.logits.resize(7);
  refused("a mask of 7 logits", prompt);
  prompt.logits.assign(64 * 64, std::numeric_limits<float>::infinity());
  refused("not finite", prompt);
  check(model.predict(embedding, {}).empty(), "no prompts, no masks");
}

void test_images(const samdeploy::Model& model) {
  const std::vector<std::uint8_t> pixels(12);
  const auto refused = [&](const std::string& expected, const samdeploy::ImageView& image) {
    check_refused(Fault::input, expected, [&] { model.encode(image); });
  };
  refused("an image of 0 x 2 pixels", {pixels.data(), 0, 2, samdeploy::PixelFormat::rgb, 0});
  refused("without data", {nullptr, 2, 2, samdeploy::PixelFormat::rgb, 0});
  refused("at most", {pixels.data(), 1 << 20, 1 << 20, samdeploy::PixelFormat::rgb, 0});
  refused("an image of -2 x 2 pixels", {pixels.data(), -2, 2, samdeploy::PixelFormat::rgb, 0});
  constexpr auto rgb = samdeploy::PixelFormat::rgb;
  constexpr auto most = std::numeric_limits<std::ptrdiff_t>::max();
  for (std::ptrdiff_t stride : {std::ptrdiff_t{5}, std::ptrdiff_t{-5}, std::ptrdiff_t{1}, most, -most, -most - 1}) {
    refused("a stride of " + std::to_string(stride) + " bytes", {pixels.data(), 2, 2, rgb, stride});
  }
  refused("pixel format 9", {pixels.data(), 2, 2, static_cast<samdeploy::PixelFormat>(9), 0});
}

/// Archives that are whole, and hold what is no embedding.
template <typename Refused>
void test_stored(const std::string& whole, const Refused& refused) {
  using samdeploy::internal::StoredArray;
  using samdeploy::internal::StoredArrays;
  const auto changed = [&](const std::string& expected, const std::function<void(StoredArrays&)>& change) {
    StoredArrays arrays = samdeploy::internal::read_npz(whole);
    change(arrays);
    refused(samdeploy::internal::write_npz(arrays), expected);
  };
  const auto number = [](std::int64_t value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  };
  changed("no original_size", [](StoredArrays& a) { a.erase("original_size"); });
  changed("no image_size", [](StoredArrays& a) { a.erase("image_size"); });
  changed("original_size is out of range",
          [&](StoredArrays& a) { a["original_size"].bytes = number(0) + number(240); });
  changed("original_size is out of range",
          [&](StoredArrays& a) { a["original_size"].bytes = number(-1) + number(240); });
  changed("an image of 65536 x 65536",
          [&](StoredArrays& a) { a["original_size"].bytes = number(1 << 16) + number(1 << 16); });
  changed("input_size is out of range", [&](StoredArrays& a) { a["input_size"].bytes = number(257) + number(256); });
  changed("image_size is out of range",
          [&](StoredArrays& a) { a["image_size"].bytes = number(std::int64_t{1} << 40); });
  changed("no features", [](StoredArrays& a) { a.erase("image_embeddings"); });
  changed("features of another shape",
          [](StoredArrays& a) { std::swap(a["image_embeddings"].shape[1], a["image_embeddings"].shape[2]); });
  changed("'image_embeddings' is not finite", [](StoredArrays& a) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(a["image_embeddings"].bytes.data(), &nan, sizeof nan);
  });
  changed("an array of <f8", [](StoredArrays& a) { a["image_embeddings"].type = "<f8"; });
  changed("an array of another size than it tells", [](StoredArrays& a) { a["image_embeddings"].bytes += "1234"; });
  changed("an array that is too large",
          [](StoredArrays& a) { a["image_embeddings"].shape.assign(5, std::int64_t{1} << 30); });
  changed("is not a saved embedding", [](StoredArrays& a) {
    a["image_embeddings"].shape = {std::numeric_limits<std::int64_t>::max(), 10};
  });
  // A directory whose entries share one member: more than there is in the file.
  std::string bomb = whole;
  const std::size_t end = bomb.size() - 22;
  const auto number_at = [&](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, bomb.data() + at, sizeof value);
    return value;
  };
  const std::size_t start = number_at(end + 16);
  const std::string directory = bomb.substr(start, end - start);
  const std::string tail = bomb.substr(end);
  bomb.resize(end);
  for (int i = 1; i < 20; i++) bomb += directory;
  bomb += tail;
  const std::uint16_t entries = 100;
  std::memcpy(bomb.data() + bomb.size() - 12, &entries, sizeof entries);
  refused(bomb, "its members overlap");
}

/// Names by which an ONNX file has a library read others, told in a way that another reader could take otherwise.
void test_external(const std::string& path) {
  const auto field = [](int number, const std::string& content) {
    return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(content.size())} + content;
  };
  const std::string entry = field(1, "location") + field(2, "/etc/passwd") + field(3, "encoder.onnx");
  write(path, field(7, field(5, field(13, entry))));
  check(samdeploy::internal::external_files(path) == std::set<std::string>{"/etc/passwd"}, "a location told twice");
  // The same field by a key of 33 bits, of which a library would drop the highest.
  const std::string key{static_cast<char>(13 << 3 | 2 | 0x80), '\x80', '\x80', '\x80', '\x10'};
  std::string told = "nothing";
  write(path, field(7, field(5, key + static_cast<char>(entry.size()) + entry)));
  try {
    samdeploy::internal::external_files(path);
  } catch (const std::runtime_error& error) {
    told = error.what();
  }
  check(told == "a field's key of more than 32 bits", "a long key: was told " + told);
  fs::remove(path);
}

/// Graphs that are not what the manifest tells, all of whose numbers fit each other.
void test_another_size(const Bundles& bundles, const samdeploy::ImageView& image) {
  const auto opened = bundles.opened([](Json& m) { tell_size(m, 128); });
  check_refused(Fault::runtime, "failed while it ran the encoder graph", [&] { opened.encode(image); });
}

void test_files(const Cases& cases, samdeploy::Model model) {
  const fs::path path = cases.path("damaged.npz");
  const auto embedding = model.encode(cases.picture("scene").view());
  embedding.save(path.string());
  const std::string whole = read(path);
  const auto refused = [&](const std::string& content, const std::string& expected) {
    write(path, content);
    check_refused(Fault::input, expected, [&] { samdeploy::Embedding::load(path.string()); });
  };
  refused("", "is not a saved embedding (it is truncated)");
  refused(whole.substr(0, whole.size() / 2), "is not a saved embedding");
  std::string changed = whole;
  changed[changed.size() / 2] ^= 1;
  refused(changed, "its content was changed");
  fs::remove(path);
  check_refused(Fault::input, "cannot be read", [&] { samdeploy::Embedding::load(path.string()); });
  check_refused(Fault::input, "cannot be read", [&] { samdeploy::Embedding::load(cases.path("")); });
  mkfifo(path.c_str(), 0600);
  check_refused(Fault::input, "cannot be read", [&] { samdeploy::Embedding::load(path.string()); });
  fs::remove(path);
  test_stored(whole, refused);
  fs::remove(path);
  check_refused(Fault::output, "cannot be written", [&] { embedding.save(cases.path("nowhere/embedding.npz")); });
  const auto other = samdeploy::Model::open(cases.path("small_sam2"));
  check_refused(Fault::input, "does not fit this model", [&] {
    samdeploy::Prompt click;
    click.points = {{1, 1}};
    other.predict(embedding, {click});
  });
  model.close();
  check_refused(Fault::input, "the session is closed", [&] { model.encode(cases.picture("scene").view()); });
  check_refused(Fault::input, "the session is closed", [&] { model.info(); });
}

}  // namespace

int main(int, char** arguments) {
  const Cases cases(arguments[1]);
  const std::string bundle = cases.path("sam_tiny");
  test_bundles(Bundles(bundle, arguments[2]));
  test_listed(Bundles(bundle, arguments[2]));
  test_recommended(cases, arguments[2]);
  test_late(Bundles(bundle, arguments[2]), cases.picture("scene").view());
  test_moved(Bundles(bundle, arguments[2]), cases.picture("scene").view());
  test_golden(Bundles(bundle, arguments[2]));
  test_another_size(Bundles(bundle, arguments[2]), cases.picture("scene").view());
  test_external(cases.path("external_test.onnx"));
  test_options(bundle);
  const auto model = samdeploy::Model::open(bundle);
  test_prompts(cases, model);
  test_images(model);
  test_files(cases, model);
  return failures();
}

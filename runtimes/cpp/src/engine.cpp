#include "engine.hpp"

#include <algorithm>
#include <future>
#include <numeric>
#include <system_error>
#include <thread>

#include "bundle.hpp"
#include "generate.hpp"
#include "golden.hpp"
#include "mask.hpp"
#include "preprocess.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

namespace fs = std::filesystem;

/// Prompts in one decoder call. At 1024 pixels each needs some 60 MB while its masks are made, and more than a few gain
/// no speed.
constexpr std::size_t most_prompts = 16;

const BackendKind& kind_named(const std::string& name) {
  const auto& kinds = backend_kinds();
  std::string built;
  for (const BackendKind& kind : kinds) {
    if (kind.name == name) return kind;
    built += std::string(built.empty() ? "" : ", ") + kind.name;
  }
  refuse(Fault::runtime, "this library was built without a backend '", name, "'; it has ", built, ".");
}

/// Where the bundle is, wherever the process moves to and whatever a link to it names later.
fs::path resolved(const fs::path& bundle) {
  std::error_code failed;
  const fs::path folder = fs::canonical(bundle / ".", failed);
  return failed ? bundle : folder;
}

/// The same options, once they are checked, with a cache that may be used later.
OpenOptions checked(OpenOptions options) {
  const int most_threads = std::max(64, 2 * static_cast<int>(std::thread::hardware_concurrency()));
  if (options.threads < 0 || options.threads > most_threads) {
    refuse(Fault::input, "threads=", options.threads, "; expected a whole number from 1 to ", most_threads,
           ", or 0 for the backend's choice.");
  }
  if (options.cache.empty()) return options;
  std::error_code failed;
  fs::create_directories(options.cache, failed);
  const fs::path cache = failed ? fs::path() : fs::canonical(options.cache, failed);
  if (failed) refuse(Fault::input, "cache=", options.cache, " is no folder that can be made; choose another.");
  options.cache = cache.string();
  return options;
}

void check_graphs(const Manifest& manifest, const BackendKind& kind) {
  for (const auto& [role, record] : manifest.graphs) {
    const fs::path path = record.files.front().path;
    const auto& known = kind.suffixes;
    if (std::find(known.begin(), known.end(), path.extension().string()) == known.end()) {
      refuse(Fault::input, "backend '", kind.name, "' does not open '", path.string(), "'; the bundle is for '",
             manifest.runtime, "'.");
    }
    if (record.fixed_shapes) {
      refuse(Fault::bundle, "'", path.string(), "' is a graph of fixed shapes, which this library does not run; ",
             "export it without profile=npu, or run the bundle with Python.");
    }
  }
}

/// The encoder, and what is opened beside it or by whoever needs it first. All but `threads` outlive them.
Graphs open_graphs(const Manifest& manifest, const fs::path& folder, Backend& opener, int threads) {
  const bool split = manifest.graphs.count("prepare") != 0;
  Graphs graphs;
  for (const auto& [role, record] : manifest.graphs) {
    // A graph is compiled for long, mostly in one thread. Clicks need no decoder where it is split.
    const bool beside = opener.opens_side_by_side() && threads != 1 && !(split && role == "decoder");
    const auto open = [&opener, &folder, &manifest, &record = record](bool later) {
      if (later) check_again(folder, manifest, record);
      return opener.open(folder / record.files.front().path, record);
    };
    std::future<std::unique_ptr<Session>> session;
    try {
      if (beside) session = std::async(std::launch::async, open, false);
    } catch (const std::system_error&) {
      // No thread is to be had: whoever needs the graph opens it.
    }
    if (!session.valid()) session = std::async(std::launch::deferred, open, role != "encoder");
    graphs.emplace(role, Graph(session.share(), record, manifest.image_size / 16));
  }
  (void)graphs.at("encoder").provider();
  return graphs;
}

std::string listed(const std::vector<std::pair<std::string, Shape>>& shapes) {
  std::string all;
  for (const auto& [name, shape] : shapes) {
    all += (all.empty() ? "'" : ", '") + name + "' [";
    for (std::size_t i = 0; i < shape.size(); i++) all += (i > 0 ? ", " : "") + std::to_string(shape[i]);
    all += "]";
  }
  return all;
}

}  // namespace

Engine::Engine(const fs::path& bundle, const OpenOptions& options)
    : folder_(resolved(bundle)),
      manifest_(read_manifest(folder_)),
      backend_(options.backend.empty() ? manifest_.runtime : options.backend),
      decoding_(graphs_, manifest_.family) {
  const OpenOptions usable = checked(options);
  // A backend takes about as long to begin as files take to be hashed. Where no thread is to be had, `get` hashes them.
  auto checking = std::async(std::launch::async | std::launch::deferred, [&] { check_files(folder_, manifest_); });
  const BackendKind& kind = kind_named(backend_);
  opener_ = kind.make(usable);
  checking.get();
  check_graphs(manifest_, kind);
  graphs_ = open_graphs(manifest_, folder_, *opener_, options.threads);
  // A driver may compute wrong numbers without an error; the processor is what bundles are verified on.
  if (options.device != "cpu" && !options.unproved) prove();
}

std::shared_ptr<const EmbeddingData> Engine::encode(const ImageView& image) const { return encode_rgb(to_rgb(image)); }

std::shared_ptr<const EmbeddingData> Engine::encode_rgb(const Rgb& image) const {
  const Transform transform = manifest_.steps.transform(image.size, manifest_.image_size);
  const Tensor input = preprocess(image, transform, manifest_.steps);
  return std::make_shared<const EmbeddingData>(graphs_.at("encoder").run({{"image", &input}}), transform);
}

std::vector<Mask> Engine::predict(const EmbeddingData& embedding, const std::vector<Prompt>& prompts,
                                  bool multimask) const {
  check_own(embedding);
  check_prompts(prompts, embedding.transform);
  const auto side = static_cast<std::size_t>(embedding.transform.low_res_side());
  const std::size_t cells = side * side;
  const Size all{static_cast<int>(side), static_cast<int>(side)};
  std::vector<Mask> found;
  for (std::size_t start = 0; start < prompts.size(); start += most_prompts) {
    const std::size_t count = std::min(most_prompts, prompts.size() - start);
    const auto batch = encode_prompts(prompts.data() + start, count, embedding.transform, manifest_.family);
    const Answer answer = decoding_.decode(embedding, batch);
    std::vector<std::size_t> rows(count);
    std::iota(rows.begin(), rows.end(), 0);
    const Tensor masks = answer.masks(rows, all);
    const auto outputs = static_cast<std::size_t>(answer.iou.shape[1]);
    for (std::size_t row : rows) {
      const float* logits = masks.data.data() + row * outputs * cells;
      const float* iou = answer.iou.data.data() + row * outputs;
      // Output 0 answers a prompt without doubt, the others an ambiguous one.
      std::vector<std::size_t> chosen{1, 2, 3};
      if (!multimask) chosen = {single_mask(manifest_.family.stable_single_mask, logits, cells, iou, outputs)};
      for (std::size_t output : chosen) {
        std::vector<float> own(logits + output * cells, logits + (output + 1) * cells);
        found.emplace_back(iou[output], static_cast<int>(start + row),
                           std::make_shared<const MaskPixels>(std::move(own), embedding.transform));
      }
    }
  }
  return found;
}

std::vector<Mask> Engine::generate(const ImageView& image, const WholeImageSettings& settings,
                                   const Progress& progress) const {
  const auto encoding = [this](const Rgb& part) { return encode_rgb(part); };
  std::vector<Mask> masks;
  for (const Candidate& each :
       internal::generate(to_rgb(image), encoding, decoding_, manifest_.family, settings, progress)) {
    masks.emplace_back(each.score, each.prompt, std::make_shared<const MaskPixels>(each.runs()), each.stability,
                       each.point);
  }
  return masks;
}

void Engine::prove() const {
  const std::string provider = graphs_.at("encoder").provider();
  if (!manifest_.golden) {
    refuse(Fault::bundle, "this bundle holds no golden answer to prove ", provider,
           " by; export it again, or open it unproved.");
  }
  const Golden& golden = *manifest_.golden;
  const auto embedding = encode_rgb(example_picture(golden.picture));
  Prompt click;
  click.points = {golden.point};
  const auto batch = encode_prompts(&click, 1, embedding->transform, manifest_.family);
  check_answer(golden, decoding_.plain(*embedding, batch), embedding->transform, provider);
  if (decoding_.is_split()) check_answer(golden, decoding_.decode(*embedding, batch), embedding->transform, provider);
}

Info Engine::info() const {
  return {manifest_.architecture,           manifest_.family.name, manifest_.image_size, manifest_.precision, backend_,
          graphs_.at("encoder").provider(), manifest_.licence};
}

void Engine::check_own(const EmbeddingData& embedding) const {
  std::vector<std::pair<std::string, Shape>> given;
  std::vector<std::pair<std::string, Shape>> own;
  for (const auto& [name, tensor] : embedding.tensors) given.emplace_back(name, tensor.shape);
  for (const TensorRecord& output : graphs_.at("encoder").outputs()) own.emplace_back(output.name, output.shape);
  std::sort(own.begin(), own.end());
  if (given == own && embedding.transform.image_size == manifest_.image_size) return;
  refuse(Fault::input, "an embedding of ", listed(given), " for ", embedding.transform.image_size,
         " pixels does not fit this model, whose are ", listed(own), " for ", manifest_.image_size,
         "; encode the image with the model that decodes it.");
}

}  // namespace samdeploy::internal

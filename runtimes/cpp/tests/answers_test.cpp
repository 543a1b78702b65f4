// Answers beside Python's on the same graphs: prompts of every kind, the bundle's golden answer, embeddings in files.
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "cases.hpp"

namespace {

constexpr std::size_t most_pixels_off = 2;
constexpr double most_score_off = 2e-3;

samdeploy::Prompt prompt_of(const Json& written, const samdeploy::Model& model, const samdeploy::Embedding& embedding) {
  samdeploy::Prompt prompt;
  for (const Json& point : written.value("points", Json::array())) prompt.points.push_back({point[0], point[1]});
  for (const Json& label : written.value("labels", Json::array())) prompt.labels.push_back(label);
  if (written.contains("box")) {
    const Json& box = written["box"];
    prompt.box = samdeploy::Box{box[0], box[1], box[2], box[3]};
  }
  if (written.contains("bitmap")) prompt.bitmap = decoded(written["bitmap"]);
  if (written.value("again", false)) {
    samdeploy::Prompt click;
    click.points = prompt.points;
    prompt.logits = model.predict(embedding, {click}).front().logits();
  }
  return prompt;
}

void compare(const std::vector<samdeploy::Mask>& masks, const Json& expected, const std::string& what) {
  check(masks.size() == expected.size(),
        what + ": " + std::to_string(masks.size()) + " masks, expected " + std::to_string(expected.size()));
  for (std::size_t i = 0; i < std::min(masks.size(), expected.size()); i++) {
    const Json& told = expected[i];
    const auto wanted = decoded(told["rle"]);
    const std::string which = what + ", mask " + std::to_string(i);
    const std::size_t off = differing(masks[i].bitmap(), wanted);
    check(off <= most_pixels_off, which + " differs in " + std::to_string(off) + " pixels");
    const double score = told["score"];
    check(std::abs(static_cast<double>(masks[i].score()) - score) <= most_score_off,
          which + " has score " + std::to_string(masks[i].score()) + ", expected " + std::to_string(score));
    check(masks[i].prompt() == told["prompt"], which + " answers another prompt");
    check(samdeploy::internal::Runs::from_coco(masks[i].run_lengths()).decode() == masks[i].bitmap(),
          which + " has other run lengths than pixels");
  }
}

void test_asked(const Cases& cases, const samdeploy::Model& model, const Json& asked, const std::string& what) {
  const auto embedding = model.encode(cases.picture(asked["picture"]).view());
  std::vector<samdeploy::Prompt> prompts;
  for (const Json& written : asked["prompts"]) prompts.push_back(prompt_of(written, model, embedding));
  compare(model.predict(embedding, prompts, asked["multimask"]), asked["masks"],
          what + " on " + asked["picture"].get<std::string>());
}

samdeploy::WholeImageSettings settings_of(const Json& told, samdeploy::WholeImageSettings settings) {
  for (const auto& [name, value] : told.items()) {
    settings.set(name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return settings;
}

/// The same masks in the same order.
void test_everything(const Cases& cases, const samdeploy::Model& model, const Json& asked, const std::string& what) {
  int last = 0;
  const auto count = [&](int done, int total) {
    check(done >= last && done <= total, "progress of " + what);
    last = done;
    return true;
  };
  const auto settings = settings_of(asked["settings"], model.whole_image());
  const auto masks = model.generate(cases.picture(asked["picture"]).view(), settings, count);
  const std::string which = what + ", whole image, " + asked["settings"].dump();
  compare(masks, asked["masks"], which);
  for (std::size_t i = 0; i < std::min(masks.size(), asked["masks"].size()); i++) {
    const double stability = asked["masks"][i]["stability"];
    check(std::abs(static_cast<double>(masks[i].stability().value()) - stability) <= 5e-3, which + ": stability");
  }
}

void test_cancelling(const Cases& cases, const samdeploy::Model& model) {
  check_refused(samdeploy::Fault::input, "generate was cancelled at 4 of 1024 points",
                [&] { model.generate(cases.picture("scene").view(), {}, [](int, int) { return false; }); });
  samdeploy::WholeImageSettings settings;
  settings.points_stride = 0;
  check_refused(samdeploy::Fault::input, "points_stride=0",
                [&] { model.generate(cases.picture("scene").view(), settings); });
  check_refused(samdeploy::Fault::input, "unknown setting 'stride'", [&] { settings.set("stride", "4"); });
  check_refused(samdeploy::Fault::input, "points_stride=4.5; expected a whole number",
                [&] { settings.set("points_stride", "4.5"); });
  check_refused(samdeploy::Fault::input, "conf_thres=high; expected a number",
                [&] { settings.set("conf_thres", "high"); });
  check_refused(samdeploy::Fault::input, "exact=1; expected true or false", [&] { settings.set("exact", "1"); });
  check_refused(samdeploy::Fault::input, "mode=fast; expected grid or adaptive", [&] { settings.set("mode", "fast"); });
  settings.set("pred_iou_thresh", "0.5");
  check(settings.conf_thres == 0.5, "a setting by Meta's name");
}

void test_files(const Cases& cases, const samdeploy::Model& model) {
  const auto embedding = model.encode(cases.picture("odd").view());
  const std::string path = cases.path("embedding.npz");
  const std::string own = path + ".unfinished";
  std::ofstream(own) << "somebody's";
  embedding.save(path);
  check(std::filesystem::remove(own), "a file beside an embedding that is saved");
  samdeploy::Prompt box;
  box.box = samdeploy::Box{40, 50, 260, 240};
  const auto before = model.predict(embedding, {box}).front();
  const auto after = model.predict(samdeploy::Embedding::load(path), {box}).front();
  check(before.bitmap() == after.bitmap() && before.score() == after.score(), "an embedding that was saved and loaded");
}

/// The same to the bit as without a cache, when it is filled and when it is used.
void test_cache(const Cases& cases, samdeploy::OpenOptions options) {
  namespace fs = std::filesystem;
  const fs::path cache = cases.path("cache");
  const auto answer = [&] {
    const auto model = samdeploy::Model::open(cases.path("sam_tiny"), options);
    samdeploy::Prompt click;
    click.points = {{100, 90}};
    const auto embedding = model.encode(cases.picture("scene").view());
    auto logits = model.predict(embedding, {click}).front().logits();
    click.logits = logits;
    const auto again = model.predict(embedding, {click}).front().logits();
    logits.insert(logits.end(), again.begin(), again.end());
    return logits;
  };
  const auto expected = answer();
  options.cache = cache.string();
  check(answer() == expected, "an answer that fills a cache");
  std::vector<fs::path> kept;
  for (const auto& entry : fs::directory_iterator(cache)) kept.push_back(entry.path());
  check(kept.size() >= 5, "a cache of all graphs: " + std::to_string(kept.size()) + " files");
  check(answer() == expected, "an answer from a cache");
  // Nothing but what is kept is read.
  for (const fs::path& path : kept) std::ofstream(path) << "nothing";
  if (options.backend == "onnxruntime") {
    check_refused(samdeploy::Fault::bundle, "try it without a cache", answer);
  }
  fs::remove_all(cache);
}

}  // namespace

int main(int, char** arguments) {
  const Cases cases(arguments[1]);
  const auto options = options_for(arguments[2]);
  const auto tiny = samdeploy::Model::open(cases.path("sam_tiny"), options);
  std::printf("%s\n", tiny.info().provider.c_str());
  for (const Json& asked : cases["prompting"]) test_asked(cases, tiny, asked, "sam_tiny");
  tiny.prove();
  test_files(cases, tiny);
  test_cache(cases, options);
  for (const Json& asked : cases["everything"]) test_everything(cases, tiny, asked, "sam_tiny");
  test_cancelling(cases, tiny);
  for (const Json& family : cases["families"]) {
    const std::string name = family["bundle"];
    const auto model = samdeploy::Model::open(cases.path(name), options);
    test_asked(cases, model, family["asked"], name);
    model.prove();
    test_everything(cases, model, family["everything"], name);
  }
  return failures();
}

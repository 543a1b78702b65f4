#include "timing.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <functional>
#include <optional>

#include "asked.hpp"

namespace cli {
namespace {

/// Prompts in one call.
constexpr std::array<std::size_t, 3> batches{1, 16, 64};
/// Grid points along a side that warm up what the whole grid would.
constexpr int warming_stride = 8;

class Findings {
 public:
  Findings(int rounds, int warmup) : rounds_(rounds), warmup_(warmup) {}

  template <typename Act>
  void time(const std::string& step, const Act& act, int warmup) {
    for (int i = 0; i < warmup; i++) act();
    for (int i = 0; i < rounds_; i++) once(step, act);
  }
  template <typename Act>
  void time(const std::string& step, const Act& act) {
    time(step, act, warmup_);
  }

  template <typename Act>
  void once(const std::string& step, const Act& act) {
    const auto started = std::chrono::steady_clock::now();
    act();
    seconds_[step].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }

  /// Linux tells the largest resident size in kB; where nobody tells, there is none.
  void stage(const std::string& name) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
      if (word != "VmHWM:") continue;
      std::int64_t kilobytes = 0;
      status >> kilobytes;
      peaks_[name] = kilobytes * 1024;
    }
  }

  int warmup() const { return warmup_; }
  Json json() const { return {{"seconds", seconds_}, {"peaks", peaks_}}; }

 private:
  int rounds_;
  int warmup_;
  Json seconds_ = Json::object();
  Json peaks_ = Json::object();
};

void measure_prompts(const samdeploy::Model& model, const samdeploy::ImageView& image,
                     const std::vector<samdeploy::Prompt>& prompts, Findings& found) {
  std::optional<samdeploy::Embedding> embedding;
  const auto encode = [&] { embedding = model.encode(image); };
  const auto click = [&] { model.predict(*embedding, {prompts.front()}).front().bitmap(); };
  found.time("encode", encode);
  found.stage("encode");
  found.time("click", click);
  found.time("image_to_mask", [&] {
    encode();
    click();
  });
  found.stage("click");
  for (std::size_t count : batches) {
    if (count > prompts.size()) break;
    const std::vector<samdeploy::Prompt> some(prompts.begin(), prompts.begin() + static_cast<std::ptrdiff_t>(count));
    found.time("decode_" + std::to_string(count), [&] { model.predict(*embedding, some, true); });
  }
  found.stage("prompts");
}

std::size_t measure_whole_image(const samdeploy::Model& model, const samdeploy::ImageView& image,
                                const samdeploy::WholeImageSettings& settings, Findings& found) {
  auto few = settings;
  few.points_stride = std::min(warming_stride, settings.points_stride);
  for (int i = 0; i < found.warmup(); i++) model.generate(image, few);
  std::size_t masks = 0;
  found.time(
      "whole_image", [&] { masks = model.generate(image, settings).size(); }, 0);
  found.stage("whole_image");
  return masks;
}

}  // namespace

Json measure(const Arguments& arguments, const Picture& picture, const std::vector<samdeploy::Prompt>& prompts) {
  Findings found(std::max(1, arguments.whole("repeat")), arguments.whole("warmup"));
  std::optional<samdeploy::Model> model;
  found.once("load", [&] { model = open_model(arguments); });
  found.stage("load");
  const samdeploy::ImageView image{picture.data.data(), picture.width, picture.height};
  Json record{{"provider", model->info().provider}};
  if (prompts.empty()) {
    record["masks"] = measure_whole_image(*model, image, settings_of(arguments, *model), found);
  } else {
    measure_prompts(*model, image, prompts, found);
  }
  record.update(found.json());
  return record;
}

}  // namespace cli

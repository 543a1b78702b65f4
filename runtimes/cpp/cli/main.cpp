// samdeploy-cli: segment image files and write what was found, as `samdeploy predict` does.
#include <cstdio>
#include <cstdlib>
#include <future>

#include "asked.hpp"
#include "picture.hpp"
#include "results.hpp"
#include "timing.hpp"
#include "writing.hpp"

namespace {

namespace fs = std::filesystem;

constexpr const char* usage =
    "samdeploy-cli model=BUNDLE source=IMAGE [points=[[x,y],...]] [labels=[1,...]] [bboxes=[[x1,y1,x2,y2],...]]\n"
    "              [multimask=true] [output=FOLDER] [logits=FILE.npy]\n"
    "              [backend=NAME] [device=NAME] [threads=N] [precision=NAME] [cache=FOLDER]\n"
    "\n"
    "Segments an image and writes FOLDER/NAME.json, as 'samdeploy predict' does; FOLDER is runs/predict, predict2...\n"
    "unless told. Points and boxes that are given together are paired. Without either, everything is segmented, by the\n"
    "settings of 'samdeploy predict': points_stride=16, conf_thres=0.8, mode=adaptive...\n"
    "logits=FILE.npy keeps the low-res logits of the masks as well.\n"
    "\n"
    "repeat=N [warmup=N] writes no files: it prints as JSON how long every step took, N times.\n";

void check(const cli::Arguments& arguments, bool prompted) {
  const auto& settings = arguments.settings();
  if (prompted && !settings.empty()) {
    cli::refuse(settings.begin()->first + " sets whole-image mode, which prompts turn off; drop one.");
  }
  if (prompted) return;
  if (arguments.flag("multimask")) cli::refuse("multimask asks for three masks a prompt; give points or bboxes.");
  if (arguments.has("logits")) {
    cli::refuse("logits are kept of masks of prompts; give points or bboxes, or leave it out.");
  }
}

void segment(const cli::Arguments& arguments) {
  const std::string bundle = arguments.needed("model");
  const std::string source = arguments.needed("source");
  const auto prompts = cli::prompts_of(arguments);
  check(arguments, !prompts.empty());
  // It is decompressed while the model is opened.
  auto reading = std::async(std::launch::async, cli::read_picture, source);
  if (arguments.has("repeat")) {
    std::printf("%s\n", cli::measure(arguments, reading.get(), prompts).dump().c_str());
    return;
  }
  const auto model = cli::open_model(arguments);
  const cli::Picture picture = reading.get();
  const samdeploy::ImageView image{picture.data.data(), picture.width, picture.height};
  const auto masks = prompts.empty() ? model.generate(image, cli::settings_of(arguments, model))
                                     : model.predict(model.encode(image), prompts, arguments.flag("multimask"));
  cli::Json record{{"image", source}, {"model", bundle}};
  record.update(cli::record_of(masks, picture));
  const fs::path path = cli::output_folder(arguments.text("output")) / (fs::path(source).stem().string() + ".json");
  samdeploy::internal::write_file(path, record.dump());
  if (arguments.has("logits")) {
    samdeploy::internal::write_file(arguments.text("logits"), cli::npy_of(masks, model.info().image_size / 4));
  }
  std::printf("%s: %zu masks, %s\n", source.c_str(), masks.size(), path.string().c_str());
  // All is written: the system frees a model faster than its owners do.
  std::fflush(stdout);
  std::_Exit(0);
}

}  // namespace

int main(int count, char** given) {
  if (count == 1 || std::string(given[1]) == "--help") {
    std::fputs(usage, count == 1 ? stderr : stdout);
    return count == 1 ? 2 : 0;
  }
  try {
    segment(cli::Arguments(count, given));
    return 0;
  } catch (const samdeploy::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

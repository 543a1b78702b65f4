// Segment Anything models from a bundle of samdeploy, without Python.
//
//   auto model = samdeploy::Model::open("sam_tiny_openvino");
//   auto embedding = model.encode({pixels, width, height});
//   samdeploy::Prompt click;
//   click.points = {{320, 240}};
//   samdeploy::Mask mask = model.predict(embedding, {click}).front();
//
// Coordinates are (x, y) in pixels of the image, with the origin at its top left corner. Models, embeddings and masks
// are handles: copies share what they stand for, and any thread may use them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "samdeploy/api.h"

namespace samdeploy {

/// Whose fault an error is.
enum class Fault {
  input,    // a prompt, image or option is not usable
  bundle,   // a bundle is damaged, unsafe or newer than this version
  runtime,  // a backend or device is not usable here, or failed
  output,   // a file cannot be written
};

/// The only type that this library throws on purpose; `what()` is one sentence: the value, what was expected, the fix.
class SAMDEPLOY_API Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& sentence) : std::runtime_error(sentence), fault_(fault) {}
  Fault fault() const noexcept { return fault_; }

 private:
  Fault fault_;
};

struct Size {
  int height = 0;
  int width = 0;
};

struct Point {
  double x = 0;
  double y = 0;
};

struct Box {
  double x1 = 0;
  double y1 = 0;
  double x2 = 0;
  double y2 = 0;
};

/// Order of the bytes of a pixel. Alpha is left out: colours are taken as they are stored.
enum class PixelFormat { rgb, bgr, grey, rgba, bgra };

/// Pixels of somebody else's, 8 bits a channel; they are read before the call returns.
struct ImageView {
  const std::uint8_t* data = nullptr;
  int width = 0;
  int height = 0;
  PixelFormat format = PixelFormat::rgb;
  /// Bytes from one row to the next, 0 where there are none between them.
  std::ptrdiff_t stride = 0;
};

/// A request for one mask: points, a box, an earlier mask, or any mixture of them.
struct Prompt {
  std::vector<Point> points;
  /// 1 (foreground) or 0 (background) for each point; without any, all are foreground.
  std::vector<int> labels;
  std::optional<Box> box;
  /// A mask as the logits of an earlier answer, `S/4 x S/4` of them...
  std::vector<float> logits;
  /// ...or as a bitmap of the image, a byte a pixel, 0 outside.
  std::vector<std::uint8_t> bitmap;
};

/// COCO's compressed run lengths.
struct RunLengths {
  Size size;
  std::string counts;
};

/// One 4-connected part of a mask: vertices lie on pixel corners, rings are not closed.
struct Polygon {
  std::vector<Point> exterior;
  std::vector<std::vector<Point>> holes;
};

/// Settings of whole-image mode: Meta's defaults, but for the batch, which is sized for a processor.
struct WholeImageSettings {
  /// Grid points along one side of the image.
  int points_stride = 32;
  /// Prompts in one decoder call; no answer depends on it.
  int points_batch_size = 4;
  /// Smallest predicted IoU, exclusive; 0 keeps all.
  double conf_thres = 0.88;
  /// Smallest stability score, inclusive; 0 keeps all.
  double stability_score_thresh = 0.95;
  /// Shift of the threshold for the stability score, in logits.
  double stability_score_offset = 1;
  /// Boxes of one crop that overlap more than this IoU are duplicates.
  double nms_thresh = 0.7;
  /// Layers of crops; layer `i` has `4^i`.
  int crop_n_layers = 0;
  /// The same as `nms_thresh` between crops.
  double crop_nms_thresh = 0.7;
  /// Overlap of neighbouring crops, as a share of the shorter side.
  double crop_overlap_ratio = 512.0 / 1500;
  /// Points along a side are divided by this for every layer.
  int crop_downscale_factor = 1;
  /// Holes and islands below this many pixels are removed; 0 keeps all.
  std::int64_t min_mask_region_area = 0;
  /// Own grids, points from 0 to 1 for the image and for each layer of crops, instead of `points_stride`.
  std::vector<std::vector<Point>> point_grids;
  /// Judge stability and boxes on masks at full size, as the reference implementation does.
  bool exact = false;
  /// Three masks a point; without, the one that a prompt without doubt gets.
  bool multimask_output = true;
  /// Of the three masks of a point only that of the largest predicted IoU.
  bool best_only = false;
  /// Ask again for every mask with its logits beside its point.
  bool use_m2m = false;
  /// Walk the grid coarse to fine and leave out points inside masks found so far.
  bool adaptive = false;

  /// Change one by the name and in the words of Python and its command line, such as `points_stride`, `16`; Meta's
  /// names are known too, and `mode` is `grid` or `adaptive`.
  SAMDEPLOY_API void set(const std::string& name, const std::string& value);
};

/// Told after every decoder call how many grid points are done; `false` ends the work with an `Error`.
using Progress = std::function<bool(int done, int total)>;

namespace internal {
class MaskPixels;
struct EmbeddingData;
class Engine;
}  // namespace internal

/// A mask of an image; its pixels are made when they are first asked for.
class SAMDEPLOY_API Mask {
 public:
  /// Predicted IoU; it may be above 1.
  float score() const { return score_; }
  /// Index of the prompt that it answers; in whole-image mode that of the grid point.
  int prompt() const { return prompt_; }
  /// Whole-image mode: the stability score.
  std::optional<float> stability() const { return stability_; }
  /// Whole-image mode: the grid point.
  std::optional<Point> point() const { return point_; }
  /// Of the image.
  Size size() const;
  /// Number of pixels inside.
  std::int64_t area() const;
  /// First and last column and row with a pixel inside, both inclusive; zeros for an empty mask.
  Box box() const;
  /// A byte a pixel, row by row, 1 inside.
  std::vector<std::uint8_t> bitmap() const;
  RunLengths run_lengths() const;
  /// Parts, largest first; `epsilon` is how far simplification may move an outline, in pixels.
  std::vector<Polygon> polygons(double epsilon = 0) const;
  /// The answer of the network, `S/4 x S/4`, as a later prompt's `logits`; none in whole-image mode.
  const std::vector<float>& logits() const;

  Mask(float score, int prompt, std::shared_ptr<const internal::MaskPixels> pixels,
       std::optional<float> stability = std::nullopt, std::optional<Point> point = std::nullopt);

 private:
  float score_;
  int prompt_;
  std::shared_ptr<const internal::MaskPixels> pixels_;
  std::optional<float> stability_;
  std::optional<Point> point_;
};

/// An encoded image: any number of prompts are decoded from it.
class SAMDEPLOY_API Embedding {
 public:
  /// Of the image.
  Size size() const;
  /// Write an `.npz` file, whole or not at all; Python reads it as well.
  void save(const std::string& path) const;
  /// Read what `save` or Python wrote.
  static Embedding load(const std::string& path);

  explicit Embedding(std::shared_ptr<const internal::EmbeddingData> data);
  const internal::EmbeddingData& data() const;

 private:
  std::shared_ptr<const internal::EmbeddingData> data_;
};

struct OpenOptions {
  /// `openvino` or `onnxruntime`; empty for what the bundle was made for.
  std::string backend;
  /// A device as the backend calls it, in small letters. No other is used in its place.
  std::string device = "cpu";
  /// Of the processor; 0 leaves it to the backend.
  int threads = 0;
  /// Arithmetic: `fp32`, or what the device has beside it (`bf16`, `fp16`).
  std::string precision = "fp32";
  /// Leave out `Model::prove`, which is done for every device but the processor.
  bool unproved = false;
  /// Folder for graphs as the backend prepares them, for a faster second start; empty for none. It is of one machine,
  /// and as trusted as a bundle.
  std::string cache;
};

struct Info {
  std::string architecture;
  std::string family;
  /// Side `S` of the encoder input in pixels.
  int image_size = 0;
  /// How the weights are stored.
  std::string precision;
  std::string backend;
  /// What really computes, such as `OpenVINO CPU fp32`.
  std::string provider;
  std::string licence;
};

class SAMDEPLOY_API Model {
 public:
  /// Open a bundle's folder, with every file checked.
  static Model open(const std::string& bundle, const OpenOptions& options = {});

  /// Ask for the click whose answer the bundle holds, and throw where this device is too far from it.
  void prove() const;

  /// Run the image encoder once.
  Embedding encode(const ImageView& image) const;

  /// One mask a prompt, or three with `multimask` (for ambiguous ones such as a single click), prompt by prompt.
  std::vector<Mask> predict(const Embedding& embedding, const std::vector<Prompt>& prompts,
                            bool multimask = false) const;

  /// Masks of everything in an image, best first when there are no crops and no small regions to clean.
  std::vector<Mask> generate(const ImageView& image, const WholeImageSettings& settings,
                             const Progress& progress = nullptr) const;
  /// The settings that the model recommends.
  WholeImageSettings whole_image() const;

  Info info() const;

  /// Free the model: later calls are errors, those that run in other threads end undisturbed.
  void close();

 private:
  struct Handle;
  explicit Model(std::shared_ptr<Handle> handle);
  std::shared_ptr<internal::Engine> engine() const;
  std::shared_ptr<Handle> handle_;
};

/// Names of the backends that this library was built with.
SAMDEPLOY_API std::vector<std::string> backends();

/// Of this library, `major.minor.patch`.
SAMDEPLOY_API const char* version() noexcept;

}  // namespace samdeploy

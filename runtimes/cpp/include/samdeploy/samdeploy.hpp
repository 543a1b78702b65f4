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
  /// Index of the prompt that it answers.
  int prompt() const { return prompt_; }
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
  /// The answer of the network, `S/4 x S/4`, as a later prompt's `logits`.
  const std::vector<float>& logits() const;

  Mask(float score, int prompt, std::shared_ptr<const internal::MaskPixels> pixels);

 private:
  float score_;
  int prompt_;
  std::shared_ptr<const internal::MaskPixels> pixels_;
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

  /// Run the image encoder once.
  Embedding encode(const ImageView& image) const;

  /// One mask a prompt, or three with `multimask` (for ambiguous ones such as a single click), prompt by prompt.
  std::vector<Mask> predict(const Embedding& embedding, const std::vector<Prompt>& prompts,
                            bool multimask = false) const;

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

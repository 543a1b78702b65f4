// The opened graphs of a model, and what is done with them.
#pragma once

#include <filesystem>

#include "decode.hpp"
#include "manifest.hpp"

namespace samdeploy::internal {

class Engine {
 public:
  Engine(const std::filesystem::path& bundle, const OpenOptions& options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  std::shared_ptr<const EmbeddingData> encode(const ImageView& image) const;
  std::vector<Mask> predict(const EmbeddingData& embedding, const std::vector<Prompt>& prompts, bool multimask) const;
  std::vector<Mask> generate(const ImageView& image, const WholeImageSettings& settings,
                             const Progress& progress) const;
  /// Ask for the click whose answer the bundle holds, by every way there is to decode. Throws where one is wrong.
  void prove() const;
  const WholeImageSettings& whole_image() const { return manifest_.whole_image; }
  Info info() const;

 private:
  std::shared_ptr<const EmbeddingData> encode_rgb(const Rgb& image) const;
  void check_own(const EmbeddingData& embedding) const;

  std::filesystem::path folder_;
  Manifest manifest_;
  std::string backend_;
  std::unique_ptr<Backend> opener_;
  Graphs graphs_;
  Decoding decoding_;
};

}  // namespace samdeploy::internal

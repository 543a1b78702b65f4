// Prompts to answers with the graphs that a model has.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "embedding.hpp"
#include "families.hpp"
#include "graph.hpp"
#include "prompts.hpp"

namespace samdeploy::internal {

using Graphs = std::map<std::string, Graph>;

/// The answer to a batch of prompts.
struct Answer {
  /// Predicted IoU, `[prompts, 4]`; index 0 is the single-mask output.
  Tensor iou;
  /// Low-res logits `[rows, 4, height, width]` of some of the prompts. Only so many rows and columns of logits are
  /// wanted as `cells` has, such as those of an image without its padding; there may be more.
  std::function<Tensor(const std::vector<std::size_t>& rows, Size cells)> masks;
};

/// Decodes. With the split decoder all prompts are rated first and masks made of those that are wanted; prompts with a
/// mask, and models without the split, go through the plain decoder.
class Decoding {
 public:
  /// `graphs` and `family` outlive it.
  Decoding(const Graphs& graphs, const Family& family);

  /// The answer may be asked for masks as long as the embedding is there.
  Answer decode(const EmbeddingData& embedding, const PromptTensors& prompts) const;
  /// The same by the plain decoder.
  Answer plain(const EmbeddingData& embedding, const PromptTensors& prompts) const;
  bool is_split() const;

 private:
  Answer score(const EmbeddingData& embedding, const PromptTensors& prompts) const;
  std::shared_ptr<const Tensors> prepared(const EmbeddingData& embedding) const;

  const Graphs& graphs_;
  const Family& family_;
  std::uint64_t number_;
};

/// Which of a prompt's four masks answers when one is asked for; `logits` of the first has `cells` values.
std::size_t single_mask(bool stable, const float* logits, std::size_t cells, const float* iou, std::size_t outputs);

}  // namespace samdeploy::internal

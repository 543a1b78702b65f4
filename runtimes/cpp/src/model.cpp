// The public face: a handle that many threads may share, and that may be closed under them.
#include <mutex>

#include "engine.hpp"
#include "text.hpp"

namespace samdeploy {

struct Model::Handle {
  std::mutex turn;
  std::shared_ptr<internal::Engine> engine;
};

Model Model::open(const std::string& bundle, const OpenOptions& options) {
  auto handle = std::make_shared<Handle>();
  handle->engine = std::make_shared<internal::Engine>(bundle, options);
  return Model(std::move(handle));
}

Model::Model(std::shared_ptr<Handle> handle) : handle_(std::move(handle)) {}

std::shared_ptr<internal::Engine> Model::engine() const {
  const std::lock_guard<std::mutex> turn(handle_->turn);
  if (!handle_->engine) internal::refuse(Fault::input, "the session is closed; open the model again.");
  return handle_->engine;
}

Embedding Model::encode(const ImageView& image) const { return Embedding(engine()->encode(image)); }

std::vector<Mask> Model::predict(const Embedding& embedding, const std::vector<Prompt>& prompts, bool multimask) const {
  return engine()->predict(embedding.data(), prompts, multimask);
}

std::vector<Mask> Model::generate(const ImageView& image, const WholeImageSettings& settings,
                                  const Progress& progress) const {
  return engine()->generate(image, settings, progress);
}

void Model::prove() const { engine()->prove(); }

WholeImageSettings Model::whole_image() const { return engine()->whole_image(); }

Info Model::info() const { return engine()->info(); }

void Model::close() {
  std::shared_ptr<internal::Engine> last;
  const std::lock_guard<std::mutex> turn(handle_->turn);
  last.swap(handle_->engine);
}

const char* version() noexcept { return SAMDEPLOY_VERSION; }

}  // namespace samdeploy

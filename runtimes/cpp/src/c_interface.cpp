// The C interface over the C++ one: no exception leaves it.
#include <algorithm>
#include <limits>
#include <mutex>

#include "samdeploy/samdeploy.h"
#include "text.hpp"

struct samdeploy_model {
  samdeploy::Model model;
};

struct samdeploy_embedding {
  samdeploy::Embedding embedding;
};

struct samdeploy_settings {
  samdeploy::WholeImageSettings settings;
};

struct samdeploy_masks {
  explicit samdeploy_masks(std::vector<samdeploy::Mask> found) : masks(std::move(found)), counts(masks.size()) {}

  std::vector<samdeploy::Mask> masks;
  /// Run lengths that were asked for, kept for their owner.
  mutable std::mutex turn;
  mutable std::vector<std::string> counts;
};

namespace {

using samdeploy::Fault;
using samdeploy::internal::refuse;

std::string& last_error() {
  thread_local std::string sentence;
  return sentence;
}

samdeploy_status status_of(Fault fault) {
  switch (fault) {
    case Fault::input:
      return SAMDEPLOY_INPUT;
    case Fault::bundle:
      return SAMDEPLOY_BUNDLE;
    case Fault::runtime:
      return SAMDEPLOY_RUNTIME;
    case Fault::output:
      return SAMDEPLOY_OUTPUT;
  }
  return SAMDEPLOY_OTHER;
}

template <typename Act>
samdeploy_status guarded(const Act& act) noexcept {
  try {
    act();
    return SAMDEPLOY_OK;
  } catch (const samdeploy::Error& error) {
    last_error() = error.what();
    return status_of(error.fault());
  } catch (const std::exception& error) {
    last_error() = error.what();
    return SAMDEPLOY_OTHER;
  }
}

template <typename T>
T& there(T* pointer, const char* what) {
  if (pointer == nullptr) refuse(Fault::input, what, " is NULL; pass one.");
  return *pointer;
}

const samdeploy::Mask& mask_at(const samdeploy_masks* masks, std::size_t index) {
  const auto& all = there(masks, "masks").masks;
  if (index >= all.size()) refuse(Fault::input, "mask ", index, " of ", all.size(), "; they are counted from 0.");
  return all[index];
}

samdeploy::ImageView view_of(const samdeploy_image* image) {
  const samdeploy_image& given = there(image, "image");
  return {given.data, given.width, given.height, static_cast<samdeploy::PixelFormat>(given.format),
          static_cast<std::ptrdiff_t>(given.stride)};
}

samdeploy::Prompt prompt_of(const samdeploy_prompt& given) {
  samdeploy::Prompt prompt;
  for (std::size_t i = 0; i < given.point_count; i++) {
    const double* point = &there(given.points, "points") + 2 * i;
    prompt.points.push_back({point[0], point[1]});
  }
  if (given.labels != nullptr) prompt.labels.assign(given.labels, given.labels + given.point_count);
  if (given.box != nullptr) prompt.box = samdeploy::Box{given.box[0], given.box[1], given.box[2], given.box[3]};
  if (given.logits != nullptr) prompt.logits.assign(given.logits, given.logits + given.logit_count);
  if (given.bitmap != nullptr) prompt.bitmap.assign(given.bitmap, given.bitmap + given.bitmap_count);
  return prompt;
}

samdeploy::OpenOptions options_of(const samdeploy_open_options* given) {
  samdeploy::OpenOptions options;
  if (given == nullptr) return options;
  if (given->backend != nullptr) options.backend = given->backend;
  if (given->device != nullptr) options.device = given->device;
  if (given->precision != nullptr) options.precision = given->precision;
  options.threads = given->threads;
  options.unproved = given->unproved != 0;
  if (given->cache != nullptr) options.cache = given->cache;
  return options;
}

}  // namespace

const char* samdeploy_last_error(void) { return last_error().c_str(); }
const char* samdeploy_version(void) { return samdeploy::version(); }

samdeploy_status samdeploy_open(const char* bundle, const samdeploy_open_options* options, samdeploy_model** model) {
  return guarded([&] {
    auto& out = there(model, "model");
    out = nullptr;
    out = new samdeploy_model{samdeploy::Model::open(&there(bundle, "bundle"), options_of(options))};
  });
}

samdeploy_status samdeploy_prove(const samdeploy_model* model) {
  return guarded([&] { there(model, "model").model.prove(); });
}

void samdeploy_model_free(samdeploy_model* model) { delete model; }

samdeploy_status samdeploy_image_size(const samdeploy_model* model, int32_t* side) {
  return guarded([&] { there(side, "side") = there(model, "model").model.info().image_size; });
}

samdeploy_status samdeploy_encode(const samdeploy_model* model, const samdeploy_image* image,
                                  samdeploy_embedding** embedding) {
  return guarded([&] {
    auto& out = there(embedding, "embedding");
    out = nullptr;
    out = new samdeploy_embedding{there(model, "model").model.encode(view_of(image))};
  });
}

samdeploy_status samdeploy_embedding_save(const samdeploy_embedding* embedding, const char* path) {
  return guarded([&] { there(embedding, "embedding").embedding.save(&there(path, "path")); });
}

samdeploy_status samdeploy_embedding_load(const char* path, samdeploy_embedding** embedding) {
  return guarded([&] {
    auto& out = there(embedding, "embedding");
    out = nullptr;
    out = new samdeploy_embedding{samdeploy::Embedding::load(&there(path, "path"))};
  });
}

void samdeploy_embedding_free(samdeploy_embedding* embedding) { delete embedding; }

samdeploy_status samdeploy_predict(const samdeploy_model* model, const samdeploy_embedding* embedding,
                                   const samdeploy_prompt* prompts, size_t prompt_count, int32_t multimask,
                                   samdeploy_masks** masks) {
  return guarded([&] {
    auto& out = there(masks, "masks");
    out = nullptr;
    std::vector<samdeploy::Prompt> all;
    for (std::size_t i = 0; i < prompt_count; i++) all.push_back(prompt_of((&there(prompts, "prompts"))[i]));
    out = new samdeploy_masks(
        there(model, "model").model.predict(there(embedding, "embedding").embedding, all, multimask != 0));
  });
}

samdeploy_status samdeploy_settings_create(const samdeploy_model* model, samdeploy_settings** settings) {
  return guarded([&] {
    auto& out = there(settings, "settings");
    out = nullptr;
    out = new samdeploy_settings{there(model, "model").model.whole_image()};
  });
}

samdeploy_status samdeploy_settings_set(samdeploy_settings* settings, const char* name, const char* value) {
  return guarded([&] { there(settings, "settings").settings.set(&there(name, "name"), &there(value, "value")); });
}

samdeploy_status samdeploy_settings_add_grid(samdeploy_settings* settings, const double* points, size_t point_count) {
  return guarded([&] {
    std::vector<samdeploy::Point> grid;
    for (std::size_t i = 0; i < point_count; i++) {
      const double* point = &there(points, "points") + 2 * i;
      grid.push_back({point[0], point[1]});
    }
    there(settings, "settings").settings.point_grids.push_back(std::move(grid));
  });
}

void samdeploy_settings_free(samdeploy_settings* settings) { delete settings; }

samdeploy_status samdeploy_generate(const samdeploy_model* model, const samdeploy_image* image,
                                    const samdeploy_settings* settings, samdeploy_progress progress, void* context,
                                    samdeploy_masks** masks) {
  return guarded([&] {
    auto& out = there(masks, "masks");
    out = nullptr;
    const samdeploy::Model& own = there(model, "model").model;
    samdeploy::Progress told;
    if (progress != nullptr) told = [&](int done, int total) { return progress(done, total, context) != 0; };
    out = new samdeploy_masks(
        own.generate(view_of(image), settings == nullptr ? own.whole_image() : settings->settings, told));
  });
}

size_t samdeploy_masks_count(const samdeploy_masks* masks) { return masks == nullptr ? 0 : masks->masks.size(); }
void samdeploy_masks_free(samdeploy_masks* masks) { delete masks; }

samdeploy_status samdeploy_mask_facts(const samdeploy_masks* masks, size_t index, samdeploy_mask* facts) {
  return guarded([&] {
    const samdeploy::Mask& mask = mask_at(masks, index);
    const samdeploy::Box box = mask.box();
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    const samdeploy::Point point = mask.point().value_or(samdeploy::Point{none, none});
    there(facts, "facts") = {mask.score(),       mask.prompt(),
                             mask.size().width,  mask.size().height,
                             mask.area(),        {box.x1, box.y1, box.x2, box.y2},
                             {point.x, point.y}, mask.stability().value_or(std::numeric_limits<float>::quiet_NaN())};
  });
}

samdeploy_status samdeploy_mask_bitmap(const samdeploy_masks* masks, size_t index, uint8_t* bitmap, size_t length) {
  return guarded([&] {
    const auto pixels = mask_at(masks, index).bitmap();
    if (length != pixels.size()) {
      refuse(Fault::input, "a bitmap of ", length, " bytes; expected ", pixels.size(), ", one a pixel.");
    }
    std::copy(pixels.begin(), pixels.end(), &there(bitmap, "bitmap"));
  });
}

samdeploy_status samdeploy_mask_counts(const samdeploy_masks* masks, size_t index, const char** counts) {
  return guarded([&] {
    const samdeploy::Mask& mask = mask_at(masks, index);
    const std::lock_guard<std::mutex> turn(masks->turn);
    std::string& kept = masks->counts[index];
    if (kept.empty()) kept = mask.run_lengths().counts;
    there(counts, "counts") = kept.c_str();
  });
}

samdeploy_status samdeploy_mask_logits(const samdeploy_masks* masks, size_t index, const float** logits,
                                       size_t* count) {
  return guarded([&] {
    const auto& values = mask_at(masks, index).logits();
    there(logits, "logits") = values.data();
    there(count, "count") = values.size();
  });
}

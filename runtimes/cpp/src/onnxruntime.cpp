// ONNX Runtime on the processor, through its C interface.
#include <cstdlib>
#include <stdexcept>

#include "mapped.hpp"
#include "session.hpp"
#include "text.hpp"
#include "writing.hpp"

#ifdef SAMDEPLOY_ONNXRUNTIME_HEADER
#include <onnxruntime_c_api.h>
#else
#include "onnxruntime_entries.h"
#endif

namespace samdeploy::internal {
namespace {

namespace fs = std::filesystem;

const OrtApi& ort() {
  static const OrtApi* const api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (api == nullptr) {
    refuse(Fault::runtime, "ONNX Runtime ", OrtGetApiBase()->GetVersionString(),
           " is too old for this library; install a newer one.");
  }
  return *api;
}

/// What ONNX Runtime said, as an exception of the caller's choice.
void must(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string said = ort().GetErrorMessage(status);
  ort().ReleaseStatus(status);
  throw std::runtime_error(said);
}

/// Owns what ONNX Runtime made.
template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

template <typename T, typename Make>
Owned<T> made(void (*release)(T*), const Make& make) {
  T* raw = nullptr;
  must(make(&raw));
  return Owned<T>(raw, release);
}

/// One for the process, for as long as that runs: sessions may outlive any static object.
OrtEnv* environment() {
  static OrtEnv* const shared = [] {
#ifndef _WIN32
    // Else it reports its use to its maker, from 1.32 on, and is slow to begin with it.
    setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
    OrtEnv* env = nullptr;
    must(ort().CreateEnv(ORT_LOGGING_LEVEL_ERROR, "samdeploy", &env));
    return env;
  }();
  return shared;
}

using Options = Owned<OrtSessionOptions>;

Options cloned(const OrtSessionOptions* options) {
  return made<OrtSessionOptions>(ort().ReleaseSessionOptions,
                                 [&](OrtSessionOptions** out) { return ort().CloneSessionOptions(options, out); });
}

/// What layouts are chosen by: a graph that was optimized for one processor may compute wrong numbers on another.
const char* processor() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx512f")) return "avx512";
  return __builtin_cpu_supports("avx2") ? "avx2" : __builtin_cpu_supports("avx") ? "avx" : "sse";
#elif defined(__aarch64__)
  return "arm64";
#else
  return "other";
#endif
}

/// Where a graph is kept as this version of ONNX Runtime optimizes it here. The ending says in which of its formats:
/// the one that it opens fastest.
fs::path kept_in(const fs::path& cache, const GraphRecord& graph) {
  std::string name;
  for (const FileRecord& file : graph.files) name += file.sha256.substr(0, 32) + "-";
  return cache / text(name, OrtGetApiBase()->GetVersionString(), "-", processor(), ".ort");
}

class OnnxSession final : public Session {
 public:
  OnnxSession(const fs::path& path, const OrtSessionOptions* options, const GraphRecord& graph)
      : OnnxSession(graph, nullptr,
                    [&](OrtSession** out) { return ort().CreateSession(environment(), path.c_str(), options, out); }) {}

  /// Of a file in its own format, which `options` let it read in place.
  OnnxSession(std::unique_ptr<MappedFile> file, const OrtSessionOptions* options, const GraphRecord& graph)
      : OnnxSession(graph, std::move(file), [&](OrtSession** out) {
          return ort().CreateSessionFromArray(environment(), file_->data(), file_->size(), options, out);
        }) {}

  Tensors run(const Feeds& feeds) override {
    try {
      return answer(feeds);
    } catch (const std::runtime_error& error) {
      refuse(Fault::runtime, provider(), " failed while it ran the ", role_, " graph: ", reason(error),
             "; choose another device.");
    }
  }

  std::string provider() const override { return "CPUExecutionProvider"; }

 private:
  template <typename Make>
  OnnxSession(const GraphRecord& graph, std::unique_ptr<MappedFile> file, const Make& make)
      : file_(std::move(file)),
        memory_(made<OrtMemoryInfo>(
            ort().ReleaseMemoryInfo,
            [](OrtMemoryInfo** out) { return ort().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, out); })),
        session_(made<OrtSession>(ort().ReleaseSession, make)),
        role_(graph.role) {
    for (const TensorRecord& output : graph.outputs) outputs_.push_back(output.name);
  }

  Tensors answer(const Feeds& feeds) const {
    std::vector<const char*> input_names;
    std::vector<Owned<OrtValue>> owned;
    std::vector<const OrtValue*> inputs;
    for (const auto& [name, tensor] : feeds) {
      // ONNX Runtime takes what it only reads as if it could be written to.
      auto* data = const_cast<float*>(tensor->data.data());
      owned.push_back(made<OrtValue>(ort().ReleaseValue, [&, &given = *tensor](OrtValue** out) {
        return ort().CreateTensorWithDataAsOrtValue(memory_.get(), data, given.data.size() * sizeof(float),
                                                    given.shape.data(), given.shape.size(),
                                                    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, out);
      }));
      input_names.push_back(name.c_str());
      inputs.push_back(owned.back().get());
    }
    std::vector<const char*> output_names;
    for (const std::string& name : outputs_) output_names.push_back(name.c_str());
    std::vector<OrtValue*> outputs(outputs_.size());
    must(ort().Run(session_.get(), nullptr, input_names.data(), inputs.data(), inputs.size(), output_names.data(),
                   outputs.size(), outputs.data()));
    std::vector<Owned<OrtValue>> results;
    for (OrtValue* output : outputs) results.emplace_back(output, ort().ReleaseValue);
    Tensors found;
    for (std::size_t i = 0; i < results.size(); i++) found[outputs_[i]] = copied(results[i].get());
    return found;
  }

  static Tensor copied(OrtValue* value) {
    const auto facts = made<OrtTensorTypeAndShapeInfo>(
        ort().ReleaseTensorTypeAndShapeInfo,
        [&](OrtTensorTypeAndShapeInfo** out) { return ort().GetTensorTypeAndShape(value, out); });
    ONNXTensorElementDataType type{};
    must(ort().GetTensorElementType(facts.get(), &type));
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) throw std::runtime_error("an answer is not of float32");
    std::size_t rank = 0;
    must(ort().GetDimensionsCount(facts.get(), &rank));
    Tensor tensor{Shape(rank), {}};
    must(ort().GetDimensions(facts.get(), tensor.shape.data(), rank));
    void* data = nullptr;
    must(ort().GetTensorMutableData(value, &data));
    const auto* values = static_cast<const float*>(data);
    tensor.data.assign(values, values + count(tensor.shape));
    return tensor;
  }

  std::unique_ptr<MappedFile> file_;  // which the session may read for as long as it lives
  Owned<OrtMemoryInfo> memory_;
  Owned<OrtSession> session_;
  std::string role_;
  std::vector<std::string> outputs_;
};

class OnnxRuntime final : public Backend {
 public:
  explicit OnnxRuntime(const OpenOptions& options)
      : options_(made<OrtSessionOptions>(ort().ReleaseSessionOptions,
                                         [](OrtSessionOptions** out) { return ort().CreateSessionOptions(out); })),
        cache_(options.cache) {
    if (options.device != "cpu") {
      refuse(Fault::runtime, "device '", options.device,
             "' is not one that this library runs ONNX Runtime on; usable: cpu.");
    }
    if (options.precision != "fp32") {
      refuse(Fault::input, "precision=", options.precision,
             "; device 'cpu' of ONNX Runtime computes in fp32: pass that or choose another backend.");
    }
    environment();
    // Planned buffers come on top of the arena that the first run filled, at the same speed.
    must(ort().DisableMemPattern(options_.get()));
    must(ort().SetSessionLogSeverityLevel(options_.get(), ORT_LOGGING_LEVEL_ERROR));
    // The graphs of a model take turns: threads that wait for the next run of one would spin on the cores that the
    // other needs.
    must(ort().AddSessionConfigEntry(options_.get(), "session.force_spinning_stop", "1"));
    // Microseconds. Left alone, threads spin while the one that they wait for has no core: a third of the time to the
    // first mask. Without any spinning, a click takes a fifth longer.
    must(ort().AddSessionConfigEntry(options_.get(), "session.intra_op.spin_duration_us", "20"));
    if (options.threads > 0) must(ort().SetIntraOpNumThreads(options_.get(), options.threads));
  }

  std::unique_ptr<Session> open(const fs::path& path, const GraphRecord& graph) override {
    try {
      if (cache_.empty()) return std::make_unique<OnnxSession>(path, options_.get(), graph);
      return cached(path, graph);
    } catch (const std::runtime_error& error) {
      refuse(Fault::bundle, "ONNX Runtime cannot open '", path.string(), "': ", reason(error), "; ",
             cache_.empty() ? "export it again or choose another device." : "try it without a cache.");
    }
  }

 private:
  std::unique_ptr<Session> cached(const fs::path& path, const GraphRecord& graph) const {
    const Options options = cloned(options_.get());
    const fs::path kept = kept_in(cache_, graph);
    if (fs::exists(kept)) {
      must(ort().SetSessionGraphOptimizationLevel(options.get(), ORT_DISABLE_ALL));
      // Weights are copied nowhere: pages of the file are them.
      must(ort().AddSessionConfigEntry(options.get(), "session.use_ort_model_bytes_directly", "1"));
      must(ort().AddSessionConfigEntry(options.get(), "session.use_ort_model_bytes_for_initializers", "1"));
      return std::make_unique<OnnxSession>(std::make_unique<MappedFile>(kept), options.get(), graph);
    }
    const fs::path unfinished = unused_beside(kept);
    must(ort().SetOptimizedModelFilePath(options.get(), unfinished.c_str()));
    try {
      auto session = std::make_unique<OnnxSession>(path, options.get(), graph);
      fs::rename(unfinished, kept);
      return session;
    } catch (...) {
      std::error_code gone;
      fs::remove(unfinished, gone);
      throw;
    }
  }

  Options options_;
  fs::path cache_;
};

}  // namespace

std::unique_ptr<Backend> make_onnxruntime(const OpenOptions& options) { return std::make_unique<OnnxRuntime>(options); }

}  // namespace samdeploy::internal

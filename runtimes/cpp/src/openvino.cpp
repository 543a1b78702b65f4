// OpenVINO, on Intel and other CPUs, GPUs and NPUs.
#include <algorithm>
#include <mutex>
#include <openvino/openvino.hpp>

#include "session.hpp"
#include "text.hpp"

namespace samdeploy::internal {
namespace {

struct Arithmetic {
  const char* name;
  ov::element::Type type;
};
const std::vector<Arithmetic> arithmetic{
    {"fp32", ov::element::f32}, {"bf16", ov::element::bf16}, {"fp16", ov::element::f16}};

std::string name_of(const ov::element::Type& type) {
  for (const Arithmetic& each : arithmetic) {
    if (each.type == type) return each.name;
  }
  return type.get_type_name();
}

class OpenVinoSession final : public Session {
 public:
  OpenVinoSession(ov::CompiledModel compiled, const GraphRecord& graph)
      : compiled_(std::move(compiled)), request_(compiled_.create_infer_request()), role_(graph.role) {
    for (const TensorRecord& output : graph.outputs) outputs_.push_back(output.name);
    std::string devices;
    for (const std::string& device : compiled_.get_property(ov::execution_devices)) {
      devices += (devices.empty() ? "" : "+") + device;
    }
    provider_ = "OpenVINO " + devices + " " + name_of(compiled_.get_property(ov::hint::inference_precision));
  }

  Tensors run(const Feeds& feeds) override {
    const std::lock_guard<std::mutex> turn(turn_);
    try {
      for (const auto& [name, tensor] : feeds) {
        // OpenVINO takes what it only reads as if it could be written to.
        auto* data = const_cast<float*>(tensor->data.data());
        request_.set_tensor(name,
                            ov::Tensor(ov::element::f32, ov::Shape(tensor->shape.begin(), tensor->shape.end()), data));
      }
      request_.infer();
      Tensors found;
      for (const std::string& name : outputs_) {
        const ov::Tensor tensor = request_.get_tensor(name);
        const ov::Shape shape = tensor.get_shape();
        const auto* data = tensor.data<const float>();
        found[name] = {Shape(shape.begin(), shape.end()), std::vector<float>(data, data + tensor.get_size())};
      }
      return found;
    } catch (const ov::Exception& error) {
      refuse(Fault::runtime, provider_, " failed while it ran the ", role_, " graph (", reason(error),
             "); choose another device.");
    }
  }

  std::string provider() const override { return provider_; }

 private:
  ov::CompiledModel compiled_;
  ov::InferRequest request_;
  std::string role_;
  std::vector<std::string> outputs_;
  std::string provider_;
  std::mutex turn_;
};

class OpenVino final : public Backend {
 public:
  explicit OpenVino(const OpenOptions& options) : device_(options.device) {
    std::transform(device_.begin(), device_.end(), device_.begin(), [](unsigned char c) { return std::toupper(c); });
    const auto found = core_.get_available_devices();
    std::string usable;
    for (const std::string& each : found) usable += (usable.empty() ? "" : ", ") + each;
    const std::string kind = device_.substr(0, device_.find('.'));
    if (std::none_of(found.begin(), found.end(), [&](const std::string& each) {
          return each == device_ || (each.substr(0, each.find('.')) == kind && device_ == kind);
        })) {
      refuse(Fault::runtime, "device '", options.device, "' is not one that OpenVINO finds here; usable: ", usable,
             ".");
    }
    const auto wanted = std::find_if(arithmetic.begin(), arithmetic.end(),
                                     [&](const Arithmetic& each) { return each.name == options.precision; });
    if (wanted == arithmetic.end()) {
      refuse(Fault::input, "precision=", options.precision, "; expected one of fp32, bf16, fp16.");
    }
    precision_ = wanted->type;
    settings_ = {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
                 // Left alone, devices choose less than fp32, which nobody has asked for.
                 ov::hint::inference_precision(precision_)};
    if (options.threads > 0) settings_.insert(ov::inference_num_threads(options.threads));
    if (!options.cache.empty()) settings_.insert(ov::cache_dir(options.cache));
  }

  std::unique_ptr<Session> open(const std::filesystem::path& path, const GraphRecord& graph) override {
    ov::CompiledModel compiled;
    try {
      compiled = core_.compile_model(path.string(), device_, settings_);
      for (const TensorRecord& input : graph.inputs) compiled.input(input.name);
      for (const TensorRecord& output : graph.outputs) compiled.output(output.name);
    } catch (const ov::Exception& error) {
      refuse(Fault::bundle, "OpenVINO cannot open '", path.string(), "' on ", device_, ": ", reason(error),
             "; export it again or choose another device.");
    }
    // OpenVINO takes it as a hint and puts another in its place without a word.
    const ov::element::Type used = compiled.get_property(ov::hint::inference_precision);
    if (used != precision_) {
      refuse(Fault::input, "precision=", name_of(precision_), "; device '", device_, "' uses ", name_of(used),
             " instead, pass precision=", name_of(used), " or choose another device.");
    }
    return std::make_unique<OpenVinoSession>(std::move(compiled), graph);
  }

  /// What threads compile side by side, OpenVINO 2026.4 does not free whole: 30 MB in 1,000 models.
  bool opens_side_by_side() const override { return false; }

 private:
  ov::Core core_;
  std::string device_;
  ov::element::Type precision_;
  ov::AnyMap settings_;
};

}  // namespace

std::unique_ptr<Backend> make_openvino(const OpenOptions& options) { return std::make_unique<OpenVino>(options); }

}  // namespace samdeploy::internal

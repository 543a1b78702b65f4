// Threads that share a model: they encode, ask and find everything at once, open more of them, and close one under the
// others. `make cpp-all` runs this under ThreadSanitizer too.
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "cases.hpp"

namespace {

constexpr int threads = 4;

/// Run `act` in several threads at once, each with its number.
void at_once(const std::function<void(int)>& act) {
  std::vector<std::thread> running;
  for (int i = 0; i < threads; i++) running.emplace_back(act, i);
  for (auto& thread : running) thread.join();
}

/// What one thread finds in a picture.
struct Found {
  std::vector<std::uint8_t> click;
  std::vector<std::string> everything;

  bool operator==(const Found& other) const { return click == other.click && everything == other.everything; }
};

samdeploy::Prompt middle_of(const Picture& picture) {
  samdeploy::Prompt click;
  click.points = {{picture.width / 2.0, picture.height / 2.0}};
  return click;
}

Found find(const samdeploy::Model& model, const Picture& picture) {
  samdeploy::WholeImageSettings settings = model.whole_image();
  settings.points_stride = 3;
  settings.conf_thres = 0.5;
  Found found;
  found.click = model.predict(model.encode(picture.view()), {middle_of(picture)}).front().bitmap();
  for (const auto& mask : model.generate(picture.view(), settings)) {
    found.everything.push_back(mask.run_lengths().counts);
  }
  return found;
}

/// Each thread a picture of its own, and all of them the same embedding and the same mask.
void test_sharing(const samdeploy::Model& model, const std::vector<Picture>& pictures, const std::string& saved) {
  std::vector<Found> expected;
  for (const Picture& picture : pictures) expected.push_back(find(model, picture));
  check(!expected.front().everything.empty(), "a picture with nothing in it");
  const auto embedding = model.encode(pictures.front().view());
  const auto mask = model.predict(embedding, {middle_of(pictures.front())}).front();
  const auto fresh = model.encode(pictures.front().view());  // what is prepared of it, is by whoever asks first
  std::atomic<int> wrong{0};
  at_once([&](int number) {
    const auto own = static_cast<std::size_t>(number) % pictures.size();
    if (model.predict(fresh, {middle_of(pictures.front())}).front().bitmap() != expected.front().click) wrong++;
    if (mask.bitmap() != expected.front().click || mask.area() == 0 || mask.run_lengths().counts.empty()) wrong++;
    const std::string path = saved + std::to_string(number) + ".npz";
    fresh.save(path);
    if (samdeploy::Embedding::load(path).size().width != pictures.front().width) wrong++;
    std::remove(path.c_str());
    if (!(find(model, pictures[own]) == expected[own])) wrong++;
  });
  check(wrong == 0, "threads that share a model: " + std::to_string(wrong) + " wrong answers");
}

/// Threads that write one path: none is disturbed, and what is there is whole.
void test_saving(const samdeploy::Embedding& embedding, const std::string& path) {
  std::atomic<int> wrong{0};
  at_once([&](int) {
    for (int i = 0; i < 20; i++) {
      try {
        embedding.save(path);
        if (samdeploy::Embedding::load(path).size().width != embedding.size().width) wrong++;
      } catch (const samdeploy::Error&) {
        wrong++;
      }
    }
  });
  std::remove(path.c_str());
  check(wrong == 0, "threads that save to one path: " + std::to_string(wrong) + " times wrong");
}

/// An answer is right or says that the model is closed.
void test_closing(samdeploy::Model model, const std::vector<Picture>& pictures) {
  std::vector<Found> expected;
  for (const Picture& picture : pictures) expected.push_back(find(model, picture));
  std::atomic<int> wrong{0};
  std::atomic<int> closed{0};
  at_once([&](int number) {
    const auto own = static_cast<std::size_t>(number) % pictures.size();
    if (number == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      model.close();
      model.close();
      return;
    }
    for (bool open = true; open;) {
      try {
        if (!(find(model, pictures[own]) == expected[own])) wrong++;
      } catch (const samdeploy::Error& error) {
        open = false;
        if (std::string(error.what()).find("the session is closed") == std::string::npos) wrong++;
        closed++;
      }
    }
  });
  check(wrong == 0 && closed == threads - 1, "a model that is closed under the threads that use it");
}

void test_opening(const std::string& bundle, const samdeploy::OpenOptions& options, const Picture& picture) {
  std::atomic<int> wrong{0};
  at_once([&](int) {
    auto model = samdeploy::Model::open(bundle, options);
    const auto embedding = model.encode(picture.view());
    if (model.predict(embedding, {middle_of(picture)}).size() != 1) wrong++;
    model.close();
    check_refused(samdeploy::Fault::input, "the session is closed", [&] { model.encode(picture.view()); });
  });
  check(wrong == 0, "models that are opened at once");
}

}  // namespace

int main(int, char** arguments) {
  const Cases cases(arguments[1]);
  const auto options = options_for(arguments[2]);
  const std::string bundle = cases.path("sam_tiny");
  const std::vector<Picture> pictures{cases.picture("scene"), cases.picture("example")};
  test_opening(bundle, options, pictures.front());
  const auto model = samdeploy::Model::open(bundle, options);
  test_sharing(model, pictures, cases.path("of_thread"));
  test_saving(model.encode(pictures.front().view()), cases.path("of_threads.npz"));
  test_closing(model, pictures);
  return failures();
}

// Where reports of misuse go.
#include "objc/validation.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace metalhead::sim {
namespace {

std::atomic<MisuseRecorder*> active_recorder{nullptr};

}  // namespace

void report_misuse(const std::string& text) {
  if (MisuseRecorder* recorder = active_recorder.load()) return recorder->add(text);
  std::fprintf(stderr, "metal validation: %s\n", text.c_str());
  std::abort();
}

MisuseRecorder::MisuseRecorder() { active_recorder.store(this); }
MisuseRecorder::~MisuseRecorder() { active_recorder.store(nullptr); }

std::vector<std::string> MisuseRecorder::texts() const {
  std::lock_guard lock(mutex_);
  return texts_;
}

bool MisuseRecorder::saw(const std::string& part) const {
  std::lock_guard lock(mutex_);
  for (const std::string& text : texts_) {
    if (text.find(part) != std::string::npos) return true;
  }
  return false;
}

void MisuseRecorder::add(const std::string& text) {
  std::lock_guard lock(mutex_);
  texts_.push_back(text);
}

}  // namespace metalhead::sim

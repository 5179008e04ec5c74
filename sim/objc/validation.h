// Reports misuse of the Metal API: what Apple's validation layer, or a careful reader of its manual, would
// object to.
#pragma once

#include <mutex>
#include <string>
#include <vector>

namespace metalhead::sim {

/// Aborts the process with the text, unless a MisuseRecorder is active: then it is kept there and the caller
/// goes on.
void report_misuse(const std::string& text);

/// While one is alive, misuse is recorded instead of aborting; recorders do not nest.
class MisuseRecorder {
 public:
  MisuseRecorder();
  ~MisuseRecorder();
  MisuseRecorder(const MisuseRecorder&) = delete;
  MisuseRecorder& operator=(const MisuseRecorder&) = delete;

  std::vector<std::string> texts() const;

  /// True if one recorded text contains `part`.
  bool saw(const std::string& part) const;

  void add(const std::string& text);

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> texts_;
};

}  // namespace metalhead::sim

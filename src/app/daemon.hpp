// Daemon: the composition root of `baton serve`. Everything a node runs is a member here, made in order and
// destroyed in reverse.
#pragma once

#include <chrono>
#include <memory>

#include "app/serve_options.hpp"
#include "baton/base/log.hpp"
#include "baton/base/result.hpp"

namespace baton {

class Daemon {
 public:
  // Loads the model, allocates the KV cache, opens the ports. On error nothing runs.
  static Result<std::unique_ptr<Daemon>> create(const ServeOptions& options, Logger& logger);
  ~Daemon();

  void reload(bool even_if_unchanged);  // API keys and certificate, HttpServer::reload

  bool device_failed() const;  // for good: only a new process gets the device back

  void begin_drain();    // accept nothing new, here or from peers
  bool drained() const;  // nothing of ours or of our peers' runs or travels here any more
  void stop();           // drops what is left

 private:
  struct Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace baton

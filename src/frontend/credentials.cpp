#include "frontend/credentials.hpp"

#include "frontend/tls.hpp"

namespace baton::frontend {

bool WatchedFiles::changed() {
  std::vector<Mark> now;
  for (const std::string& name : names_) {
    struct stat status {};
    Mark mark;
    if (::stat(name.c_str(), &status) == 0) mark = {status.st_ino, status.st_size, status.st_mtim};
    now.push_back(mark);
  }
  bool same = now.size() == seen_.size();
  for (std::size_t i = 0; same && i < now.size(); ++i) {
    same = now[i].inode == seen_[i].inode && now[i].size == seen_[i].size &&
           now[i].modified.tv_sec == seen_[i].modified.tv_sec &&
           now[i].modified.tv_nsec == seen_[i].modified.tv_nsec;
  }
  seen_ = std::move(now);
  return !same;
}

Credentials::Credentials(const std::string& api_key_file, const std::string& certificate,
                         const std::string& key, Logger& logger)
    : logger_(logger), key_file_({api_key_file}), tls_files_({certificate, key}) {}

Result<void> Credentials::load() {
  std::lock_guard one(loading_);
  key_file_.changed();
  tls_files_.changed();
  if (key_file_.configured()) {
    if (auto loaded = load_keys(); !loaded) return loaded;
  }
  if (tls_files_.configured()) return load_tls();
  return {};
}

void Credentials::reload(bool even_if_unchanged) {
  std::lock_guard one(loading_);
  const auto again = [&](WatchedFiles& files, Result<void> (Credentials::*read)(), const char* kept) {
    if (!files.configured()) return;
    const bool changed = files.changed();
    if (!changed && !even_if_unchanged) return;
    if (auto loaded = (this->*read)(); !loaded) logger_.error(kept, {{"why", loaded.error().message}});
  };
  again(key_file_, &Credentials::load_keys, "the new API key file is unusable: the old keys stay in force");
  again(tls_files_, &Credentials::load_tls, "the new TLS certificate is unusable: the old one stays in use");
}

Result<void> Credentials::load_keys() {
  auto loaded = ApiKeys::load(key_file_.name(0));
  if (!loaded) return std::move(loaded).error();
  auto keys = std::make_shared<const ApiKeys>(std::move(*loaded));
  logger_.info("API keys in force", {{"file", key_file_.name(0)}, {"keys", keys->size()}});
  std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
  return {};
}

Result<void> Credentials::load_tls() {
  auto loaded = load_tls_context(tls_files_.name(0), tls_files_.name(1));
  if (!loaded) return std::move(loaded).error();
  logger_.info("TLS certificate in use", {{"file", tls_files_.name(0)}});
  if (expired(**loaded)) logger_.warn("the TLS certificate has expired", {{"file", tls_files_.name(0)}});
  std::lock_guard lock(mutex_);
  tls_ = std::move(*loaded);
  return {};
}

std::shared_ptr<const ApiKeys> Credentials::keys() const {
  std::lock_guard lock(mutex_);
  return keys_;
}

std::shared_ptr<TlsContext> Credentials::tls() const {
  std::lock_guard lock(mutex_);
  return tls_;
}

}  // namespace baton::frontend

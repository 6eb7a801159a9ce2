#include "baton/hub/pull.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "hub/api.hpp"
#include "hub/part_file.hpp"
#include "hub/selection.hpp"
#include "hub/target.hpp"

namespace baton::hub {
namespace {

// A token in a header: no line may be put behind it.
bool is_token(const std::string& token) {
  return std::ranges::all_of(token, [](char c) { return c > ' ' && c < '\x7f'; });
}

// Of an origin, as origin_of gives it. A name that only begins with 127. is somebody's.
bool is_loopback(const std::string& origin) {
  const auto begin = origin.find("//") + 2;
  const std::string host = origin.substr(begin, origin.rfind(':') - begin);
  in_addr address{};
  return host == "localhost" || host == "[::1]" ||
         (::inet_pton(AF_INET, host.c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127);
}

Result<PullOptions> settle(PullOptions options, PullObserver& observer) {
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  const auto origin = origin_of(options.endpoint);
  if (!origin || options.endpoint.find_first_of("?#@") != options.endpoint.npos)
    return make_error(ErrorCode::invalid_argument,
                      "--endpoint must be an http or https address, as https://huggingface.co", "--endpoint");
  if (!is_token(options.token))
    return make_error(ErrorCode::invalid_argument, "the token has characters that no token has",
                      "--token-file");
  if (!options.token.empty() && origin->starts_with("http:") && !is_loopback(*origin)) {
    observer.note("the token is not sent: " + *origin + " is not encrypted");
    options.token.clear();
  }
  return options;
}

// One pull, step by step. State that outlives a step is a member.
class Pull {
 public:
  Pull(const PullOptions& options, PullObserver& observer)
      : options_(options),
        observer_(observer),
        http_(http_options()),
        api_(http_, options.endpoint, options.repository, !options.token.empty()) {}

  Result<PullReport> run() {
    auto commit = api_.commit();
    if (!commit) return commit.error();
    report_.commit = *commit;
    auto listing = api_.files(*commit);
    if (!listing) return listing.error();
    auto chosen = select_files(*listing, {options_.include, options_.exclude});
    if (!chosen) return chosen.error();
    if (options_.dry_run) return plan_only(*chosen);
    auto target = Target::open(options_.directory, options_.repository);
    if (!target) return target.error();
    if (auto surveyed = survey(*target, *chosen); !surveyed) return surveyed.error();
    if (auto room = target->has_room(report_.fetched); !room) return room.error();
    observer_.planned(report_);
    if (auto fetched = fetch(); !fetched) return fetched.error();
    std::vector<const PartFile*> arrived;
    for (const PartFile& part : parts_) arrived.push_back(&part);
    if (auto installed = target->install(arrived, *listing, *commit, observer_); !installed)
      return installed.error();
    return report_;
  }

 private:
  HttpOptions http_options() {
    HttpOptions http;
    http.endpoint = options_.endpoint;
    http.token = options_.token;
    http.user_agent = options_.user_agent;
    http.connect_timeout = options_.connect_timeout;
    http.stall_timeout = options_.stall_timeout;
    http.note = [this](const std::string& text) { observer_.note(text); };
    http.keep_going = [this] {
      if (to_fetch_ > 0) observer_.progress(arrived(), to_fetch_);
      return observer_.keep_going();
    };
    return http;
  }

  PulledFile& add(const RemoteFile& file, FileState state) {
    report_.bytes += file.size;
    report_.files.push_back({file.path, file.size, file.digest.text(), state});
    return report_.files.back();
  }

  Result<PullReport> plan_only(const std::vector<RemoteFile>& chosen) {
    for (const RemoteFile& file : chosen)
      if (add(file, Target::look(options_.directory, file)).state != FileState::there)
        report_.fetched += file.size;
    return report_;
  }

  // What is there, what an earlier pull began, what is wanted.
  Result<void> survey(Target& target, const std::vector<RemoteFile>& chosen) {
    std::uint64_t to_read = 0, read = 0;
    for (const RemoteFile& file : chosen) to_read += target.bytes_to_read(file);
    const ReadProgress progress = [&](std::uint64_t bytes) {
      read += bytes;
      observer_.checked(read, std::max(read, to_read));
      return observer_.keep_going();
    };
    for (const RemoteFile& file : chosen) {
      const auto there = target.has(file, progress);
      if (!there) return there.error();
      PulledFile& pulled = add(file, *there ? FileState::there : FileState::wanted);
      if (*there) continue;
      PartFile& part = parts_.emplace_back(target.state_folder(), file);
      part.note = [this](const std::string& text) { observer_.note(text); };
      if (auto resumed = part.resume(progress); !resumed) return resumed;
      if (part.resumed_at() > 0) pulled.state = FileState::partial;
      part.on_whole = [this, pulled](const PartFile& whole) {
        observer_.fetched(pulled, whole.resumed_at());
      };
      report_.fetched += file.size - part.offset();
    }
    return {};
  }

  std::uint64_t arrived() const {
    std::uint64_t bytes = 0;
    for (const PartFile& part : parts_) bytes += part.offset();
    return bytes;
  }

  Result<void> fetch() {
    std::vector<HttpRequest> requests;
    to_fetch_ = 0;
    for (PartFile& part : parts_) {
      to_fetch_ += part.file().size;
      if (!part.whole()) requests.push_back(api_.content(report_.commit, part.file(), part));
    }
    // The largest first: they are what the end waits for.
    std::ranges::stable_sort(requests, std::ranges::greater(), [](const HttpRequest& request) {
      return static_cast<const PartFile*>(request.receiver)->file().size;
    });
    auto done = http_.run(requests, static_cast<std::size_t>(std::max(1, options_.jobs)));
    if (to_fetch_ > 0) observer_.progress(arrived(), to_fetch_);
    return done;
  }

  const PullOptions& options_;
  PullObserver& observer_;
  PullReport report_;
  std::deque<PartFile> parts_;  // a deque: requests point to them
  std::uint64_t to_fetch_ = 0;  // bytes of all parts, with what they began with; 0: no file is fetched yet
  HttpClient http_;
  Api api_;
};

}  // namespace

Result<PullReport> pull(const PullOptions& options, PullObserver& observer) {
  const auto settled = settle(options, observer);
  if (!settled) return settled.error();
  return Pull(*settled, observer).run();
}

}  // namespace baton::hub

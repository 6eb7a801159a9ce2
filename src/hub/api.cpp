#include "hub/api.hpp"

#include <set>

namespace baton::hub {
namespace {

constexpr std::size_t kMostPages = 1000, kMostFiles = 100'000;
constexpr Duration kLimit = std::chrono::minutes(2);  // for one answer of the API
constexpr const char* kWhereTokens =
    "--token-file, HF_TOKEN, the file HF_TOKEN_PATH, or what `huggingface-cli login` left";

}  // namespace

Api::Api(HttpClient& http, std::string endpoint, Repository repository, bool has_token)
    : http_(http),
      endpoint_(std::move(endpoint)),
      repository_(std::move(repository)),
      has_token_(has_token) {}

// The Hub answers 401 for what is private, and also, to strangers, for what does not exist.
Error Api::refused(const HttpReply& reply, const std::string& what) const {
  const std::string id = repository_.id();
  auto gated = make_error(
      ErrorCode::unauthenticated,
      has_token_ ? id + " is gated or private, and the token has no access: accept its terms on " +
                       endpoint_ + "/" + id + ", or give another token"
                 : id + " is gated or private, or does not exist: a token with access is needed (" +
                       kWhereTokens + ")");
  if (reply.status == 404 || reply.error_code == "RevisionNotFound") {
    if (reply.error_code == "RevisionNotFound")
      return make_error(ErrorCode::not_found, id + " has no revision '" + repository_.revision + "'");
    if (reply.error_code == "EntryNotFound")
      return make_error(ErrorCode::not_found, id + " has no " + what + " any more");
    return make_error(ErrorCode::not_found, "there is no repository " + id + " at " + plain_url(endpoint_) +
                                                ", or it has no revision '" + repository_.revision + "'");
  }
  if (has_token_ && reply.status == 401 && reply.error_code == "RepoNotFound")
    return make_error(ErrorCode::not_found,
                      "there is no repository " + id + " at " + plain_url(endpoint_) + " for this token");
  if (reply.from_endpoint && (reply.status == 401 || reply.status == 403)) return gated;
  return make_error(ErrorCode::unavailable, what + ": the " +
                                                (reply.from_endpoint ? "Hub" : "host that the Hub named") +
                                                " answered " + std::to_string(reply.status));
}

Result<std::string> Api::ask(const std::string& url, std::string* link) {
  TextReceiver answer;
  HttpRequest request{.url = url, .name = repository_.id(), .receiver = &answer, .refused = {}};
  request.limit = kLimit;
  request.refused = [this](const HttpReply& reply) { return refused(reply, "the list of files"); };
  if (auto done = http_.run(request); !done) return done.error();
  if (link != nullptr) *link = request.reply.link;
  return answer.text();
}

Result<std::string> Api::commit() {
  const auto answer = ask(endpoint_ + "/api/models/" + repository_.id() + "/revision/" +
                              percent_encode(repository_.revision, false),
                          nullptr);
  if (!answer) return answer.error();
  return parse_commit(*answer);
}

Result<std::vector<RemoteFile>> Api::files(const std::string& commit) {
  std::vector<RemoteFile> files;
  std::set<std::string> paths;
  std::string url = endpoint_ + "/api/models/" + repository_.id() + "/tree/" + commit + "?recursive=true";
  for (std::size_t page = 0; page < kMostPages; ++page) {
    std::string link;
    const auto answer = ask(url, &link);
    if (!answer) return answer.error();
    auto parsed = parse_tree_page(*answer);
    if (!parsed) return parsed.error();
    for (RemoteFile& file : *parsed) {
      if (!paths.insert(file.path).second)
        return make_error(ErrorCode::corrupt, "the Hub's answer: names '" + file.path + "' twice");
      files.push_back(std::move(file));
    }
    const auto next = next_page(link);
    if (!next) return files;
    if (files.size() > kMostFiles) break;
    const auto resolved = resolve_url(url, *next);
    if (!resolved || !origin_of(*resolved))
      return make_error(ErrorCode::corrupt, "the Hub's answer: the next page is no http or https address");
    url = *resolved;
  }
  return make_error(ErrorCode::too_large, repository_.id() + " has more files than a model has");
}

HttpRequest Api::content(const std::string& commit, const RemoteFile& file, Receiver& receiver) const {
  HttpRequest request{.url = endpoint_ + "/" + repository_.id() + "/resolve/" + commit + "/" +
                             percent_encode(file.path, true),
                      .name = file.path,
                      .receiver = &receiver,
                      .refused = {}};
  request.refused = [this, path = file.path](const HttpReply& reply) { return refused(reply, path); };
  return request;
}

}  // namespace baton::hub

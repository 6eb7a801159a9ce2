// The three questions that pull asks a Hub: which commit, which files, and a file's content.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "baton/hub/repository.hpp"
#include "hub/http.hpp"
#include "hub/listing.hpp"

namespace baton::hub {

class Api {
 public:
  // `endpoint` without a slash at its end. `has_token` is for messages only.
  Api(HttpClient& http, std::string endpoint, Repository repository, bool has_token);

  // not_found names the repository or the revision; unauthenticated says where a token is looked for.
  Result<std::string> commit();
  // All pages; corrupt where a path comes twice.
  Result<std::vector<RemoteFile>> files(const std::string& commit);
  HttpRequest content(const std::string& commit, const RemoteFile& file, Receiver& receiver) const;

 private:
  Result<std::string> ask(const std::string& url, std::string* link);
  Error refused(const HttpReply& reply, const std::string& what) const;

  HttpClient& http_;
  const std::string endpoint_;
  const Repository repository_;
  const bool has_token_;
};

}  // namespace baton::hub

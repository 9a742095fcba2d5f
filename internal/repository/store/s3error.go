package store

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/lifeboat-db/lifeboat/internal/fault"
)

// statusOf is the HTTP status of the answer that is an error; 0 if none came.
func statusOf(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// codeOf is the code in the answer that is an error, such as NoSuchKey; empty
// if none came.
func codeOf(err error) string {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode()
	}
	return ""
}

// isMissing tells that there is no object. The bucket's absence has its own
// code.
func isMissing(err error) bool {
	switch codeOf(err) {
	case "NoSuchKey", "NoSuchVersion", "NotFound":
		return true
	}
	return false
}

// transient tells errors that may be gone the next time: of the server's own,
// of too many requests, of bytes that were damaged on their way, and all that
// come without an answer, except a wrong certificate.
func transient(err error) bool {
	var final *fault.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, new(again)):
		return true
	case errors.As(err, &final), errors.As(err, &certificate), errors.Is(err, fs.ErrExist):
		return false
	}
	switch codeOf(err) {
	case "SlowDown", "RequestTimeout", "OperationAborted", "BadDigest", "XAmzContentSHA256Mismatch", "InternalError", "IncompleteBody":
		return true
	case "NotImplemented":
		return false
	}
	switch status := statusOf(err); {
	case status == http.StatusInsufficientStorage:
		return false
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return true
	case status >= 300:
		return false
	}
	return true
}

// explain gives the last error of a call its class, and the next step.
func explain(op string, err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return fmt.Errorf("%s: %w", op, err)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s: %w", op, fs.ErrExist)
	case isMissing(err):
		return missing(op)
	}
	class, hint := meaning(err)
	return &fault.Error{Class: class, Err: &answerError{fmt.Sprintf("%s: %s", op, brief(err)), err}, Hint: hint}
}

// answerError is an error of the SDK in few words.
type answerError struct {
	text string
	err  error
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.err }

// brief is what the server said, or why there is no answer. What the SDK puts
// around it says nothing that is not said already.
func brief(err error) string {
	var answer smithy.APIError
	var request *url.Error
	switch {
	case errors.As(err, &answer) && answer.ErrorMessage() == "":
		return fmt.Sprintf("%s (HTTP %d)", answer.ErrorCode(), statusOf(err))
	case errors.As(err, &answer):
		return fmt.Sprintf("%s: %s (HTTP %d)", answer.ErrorCode(), answer.ErrorMessage(), statusOf(err))
	case errors.As(err, &request):
		return request.Err.Error()
	}
	return err.Error()
}

// meaning says what an error means for the operator. The codes are those of
// "Error responses" in the Amazon S3 API Reference, of MinIO (X…)
// and of versitygw (XAdminUserNotFound).
func meaning(err error) (fault.Class, string) {
	switch code := codeOf(err); code {
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidSecurity", "MissingSecurityHeader", "UnauthorizedAccess", "XAdminUserNotFound":
		return fault.Storage, "check the access key and the secret key"
	case "RequestTimeTooSkewed", "RequestExpired":
		return fault.Storage, "set this machine's clock: it and the server's disagree"
	case "NoSuchBucket":
		return fault.Storage, "make the bucket first, or check its name, the region and the endpoint"
	case "InvalidBucketName":
		return fault.Storage, "check the bucket's name"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "TemporaryRedirect":
		return fault.Storage, "check the region and the endpoint: the bucket is elsewhere"
	case "NotImplemented":
		return fault.Storage, "the server must know conditional writes, If-None-Match: *"
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage":
		return fault.NoSpace, "free some space there, or raise the quota"
	}
	return meaningOfStatus(err)
}

func meaningOfStatus(err error) (fault.Class, string) {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return fault.Storage, "give the file of the authority's certificate"
	}
	switch status := statusOf(err); {
	case status == http.StatusInsufficientStorage:
		return fault.NoSpace, "free some space there, or raise the quota"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fault.Storage, "the key needs s3:ListBucket of the bucket, and s3:GetObject, s3:PutObject and, to prune, s3:DeleteObject of what is in it"
	case status >= 300 && status < 400:
		return fault.Storage, "check the region and the endpoint: the bucket is elsewhere"
	case status == 0:
		return fault.Storage, "check the endpoint and the network"
	case status >= 500:
		return fault.Storage, "the server cannot now: run again later"
	}
	return fault.Storage, ""
}

// Package errs is the one table of the errors a client can see: a name, a gRPC
// code and the exact text. Clients compare texts, so text and code are both
// part of the interface, and neither is ever spelled anywhere else.
package errs

import (
	"errors"

	"google.golang.org/grpc/codes"
)

// Error is one row of the table. Rows are compared by identity: errors.Is(err,
// errs.Compacted) holds for the row itself and for whatever wraps it.
type Error struct {
	name string
	code codes.Code
	text string
}

// Name is the row's name, without any prefix.
func (e *Error) Name() string { return e.name }

// Code is the gRPC code that travels with the text. Two rows carry Unknown
// although their names suggest better; clients have come to see that.
func (e *Error) Code() codes.Code { return e.code }

// Error is the exact text that travels.
func (e *Error) Error() string { return e.text }

// Status is what a client is told of err: the row's code and text where err is
// or wraps a row of the table, otherwise Unknown and the plain text.
func Status(err error) (codes.Code, string) {
	var e *Error
	if errors.As(err, &e) {
		return e.code, e.text
	}
	return codes.Unknown, err.Error()
}

// Keys, transactions and the store.
var (
	EmptyKey                = &Error{"EmptyKey", codes.InvalidArgument, "etcdserver: key is not provided"}
	KeyNotFound             = &Error{"KeyNotFound", codes.InvalidArgument, "etcdserver: key not found"}
	ValueProvided           = &Error{"ValueProvided", codes.InvalidArgument, "etcdserver: value is provided"}
	LeaseProvided           = &Error{"LeaseProvided", codes.InvalidArgument, "etcdserver: lease is provided"}
	TooManyOps              = &Error{"TooManyOps", codes.InvalidArgument, "etcdserver: too many operations in txn request"}
	DuplicateKey            = &Error{"DuplicateKey", codes.InvalidArgument, "etcdserver: duplicate key given in txn request"}
	InvalidSortOption       = &Error{"InvalidSortOption", codes.InvalidArgument, "etcdserver: invalid sort option"}
	Compacted               = &Error{"Compacted", codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"}
	FutureRev               = &Error{"FutureRev", codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"}
	NoSpace                 = &Error{"NoSpace", codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"}
	RequestTooLarge         = &Error{"RequestTooLarge", codes.InvalidArgument, "etcdserver: request is too large"}
	TooManyRequests         = &Error{"TooManyRequests", codes.Unknown, "etcdserver: too many requests"}
	Corrupt                 = &Error{"Corrupt", codes.DataLoss, "etcdserver: corrupt cluster"}
	Canceled                = &Error{"Canceled", codes.Canceled, "etcdserver: request canceled"}
	DeadlineExceeded        = &Error{"DeadlineExceeded", codes.DeadlineExceeded, "etcdserver: context deadline exceeded"}
	InvalidClientAPIVersion = &Error{"InvalidClientAPIVersion", codes.InvalidArgument, "etcdserver: invalid client api version"}
	StreamSortOrder         = &Error{"StreamSortOrder", codes.Unimplemented, "RangeStream does not support custom sort orders"}
	StreamRevisionFilter    = &Error{"StreamRevisionFilter", codes.Unimplemented, "RangeStream does not support revision filters"}
)

// Leases and watches.
var (
	LeaseNotFound    = &Error{"LeaseNotFound", codes.NotFound, "etcdserver: requested lease not found"}
	LeaseExist       = &Error{"LeaseExist", codes.FailedPrecondition, "etcdserver: lease already exists"}
	LeaseTTLTooLarge = &Error{"LeaseTTLTooLarge", codes.OutOfRange, "etcdserver: too large lease TTL"}
	WatchCanceled    = &Error{"WatchCanceled", codes.Canceled, "etcdserver: watch canceled"}
)

// Membership.
var (
	MemberExist            = &Error{"MemberExist", codes.FailedPrecondition, "etcdserver: member ID already exist"}
	PeerURLExist           = &Error{"PeerURLExist", codes.FailedPrecondition, "etcdserver: Peer URLs already exists"}
	MemberNotEnoughStarted = &Error{"MemberNotEnoughStarted", codes.Unknown, "etcdserver: re-configuration failed due to not enough started members"}
	MemberBadURLs          = &Error{"MemberBadURLs", codes.InvalidArgument, "etcdserver: given member URLs are invalid"}
	MemberNotFound         = &Error{"MemberNotFound", codes.NotFound, "etcdserver: member not found"}
	MemberNotLearner       = &Error{"MemberNotLearner", codes.FailedPrecondition, "etcdserver: can only promote a learner member"}
	LearnerNotReady        = &Error{"LearnerNotReady", codes.FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader"}
	TooManyLearners        = &Error{"TooManyLearners", codes.FailedPrecondition, "etcdserver: too many learner members in cluster"}
	ClusterIDMismatch      = &Error{"ClusterIDMismatch", codes.FailedPrecondition, "etcdserver: cluster ID mismatch"}
)

// Users, roles and tokens.
var (
	RootUserNotExist     = &Error{"RootUserNotExist", codes.FailedPrecondition, "etcdserver: root user does not exist"}
	RootRoleNotExist     = &Error{"RootRoleNotExist", codes.FailedPrecondition, "etcdserver: root user does not have root role"}
	UserAlreadyExist     = &Error{"UserAlreadyExist", codes.FailedPrecondition, "etcdserver: user name already exists"}
	UserEmpty            = &Error{"UserEmpty", codes.InvalidArgument, "etcdserver: user name is empty"}
	UserNotFound         = &Error{"UserNotFound", codes.FailedPrecondition, "etcdserver: user name not found"}
	RoleAlreadyExist     = &Error{"RoleAlreadyExist", codes.FailedPrecondition, "etcdserver: role name already exists"}
	RoleNotFound         = &Error{"RoleNotFound", codes.FailedPrecondition, "etcdserver: role name not found"}
	RoleEmpty            = &Error{"RoleEmpty", codes.InvalidArgument, "etcdserver: role name is empty"}
	AuthFailed           = &Error{"AuthFailed", codes.InvalidArgument, "etcdserver: authentication failed, invalid user ID or password"}
	NoPasswordUser       = &Error{"NoPasswordUser", codes.Unknown, "auth: authentication failed, password was given for no password user"}
	PermissionNotGiven   = &Error{"PermissionNotGiven", codes.InvalidArgument, "etcdserver: permission not given"}
	PermissionDenied     = &Error{"PermissionDenied", codes.PermissionDenied, "etcdserver: permission denied"}
	RoleNotGranted       = &Error{"RoleNotGranted", codes.FailedPrecondition, "etcdserver: role is not granted to the user"}
	PermissionNotGranted = &Error{"PermissionNotGranted", codes.FailedPrecondition, "etcdserver: permission is not granted to the role"}
	AuthNotEnabled       = &Error{"AuthNotEnabled", codes.FailedPrecondition, "etcdserver: authentication is not enabled"}
	InvalidAuthToken     = &Error{"InvalidAuthToken", codes.Unauthenticated, "etcdserver: invalid auth token"}
	InvalidAuthMgmt      = &Error{"InvalidAuthMgmt", codes.InvalidArgument, "etcdserver: invalid auth management"}
	AuthOldRevision      = &Error{"AuthOldRevision", codes.InvalidArgument, "etcdserver: revision of auth store is old"}
)

// The state of the cluster.
var (
	NoLeader                   = &Error{"NoLeader", codes.Unavailable, "etcdserver: no leader"}
	NotLeader                  = &Error{"NotLeader", codes.FailedPrecondition, "etcdserver: not leader"}
	LeaderChanged              = &Error{"LeaderChanged", codes.Unavailable, "etcdserver: leader changed"}
	NotCapable                 = &Error{"NotCapable", codes.FailedPrecondition, "etcdserver: not capable"}
	Stopped                    = &Error{"Stopped", codes.Unavailable, "etcdserver: server stopped"}
	Timeout                    = &Error{"Timeout", codes.Unavailable, "etcdserver: request timed out"}
	TimeoutDueToLeaderFail     = &Error{"TimeoutDueToLeaderFail", codes.Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"}
	TimeoutDueToConnectionLost = &Error{"TimeoutDueToConnectionLost", codes.Unavailable, "etcdserver: request timed out, possibly due to connection lost"}
	TimeoutWaitAppliedIndex    = &Error{"TimeoutWaitAppliedIndex", codes.Unavailable, "etcdserver: request timed out, waiting for the applied index took too long"}
	TimeoutLeaderTransfer      = &Error{"TimeoutLeaderTransfer", codes.Unknown, "etcdserver: request timed out, leader transfer took too long"}
	Unhealthy                  = &Error{"Unhealthy", codes.Unavailable, "etcdserver: unhealthy cluster"}
	NotSupportedForLearner     = &Error{"NotSupportedForLearner", codes.FailedPrecondition, "etcdserver: rpc not supported for learner"}
	BadLeaderTransferee        = &Error{"BadLeaderTransferee", codes.FailedPrecondition, "etcdserver: bad leader transferee"}
	ProposalDropped            = &Error{"ProposalDropped", codes.Unknown, "raft proposal dropped"}
	NotPrimaryLessor           = &Error{"NotPrimaryLessor", codes.Unknown, "not a primary lessor"}
	UnknownMethod              = &Error{"UnknownMethod", codes.Unknown, "etcdserver: unknown method"}
)

// Downgrades.
var (
	WrongDowngradeVersionFormat   = &Error{"WrongDowngradeVersionFormat", codes.InvalidArgument, "etcdserver: wrong downgrade target version format"}
	InvalidDowngradeTargetVersion = &Error{"InvalidDowngradeTargetVersion", codes.InvalidArgument, "etcdserver: invalid downgrade target version"}
	ClusterVersionUnavailable     = &Error{"ClusterVersionUnavailable", codes.FailedPrecondition, "etcdserver: cluster version not found during downgrade"}
	DowngradeInProcess            = &Error{"DowngradeInProcess", codes.FailedPrecondition, "etcdserver: cluster has a downgrade job in progress"}
	NoInflightDowngrade           = &Error{"NoInflightDowngrade", codes.FailedPrecondition, "etcdserver: no inflight downgrade job"}
)

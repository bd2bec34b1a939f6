package errs

import "google.golang.org/grpc/codes"

// Find returns the row with which a server has answered, if code and text are
// those of one.
func Find(code codes.Code, text string) (*Error, bool) {
	for _, row := range table {
		if row.code == code && row.text == text {
			return row, true
		}
	}
	return nil, false
}

// table has every row.
var table = [...]*Error{
	EmptyKey,
	KeyNotFound,
	ValueProvided,
	LeaseProvided,
	TooManyOps,
	DuplicateKey,
	InvalidSortOption,
	Compacted,
	FutureRev,
	NoSpace,
	RequestTooLarge,
	TooManyRequests,
	Corrupt,
	Canceled,
	DeadlineExceeded,
	InvalidClientAPIVersion,
	StreamSortOrder,
	StreamRevisionFilter,
	LeaseNotFound,
	LeaseExist,
	LeaseTTLTooLarge,
	WatchCanceled,
	MemberExist,
	PeerURLExist,
	MemberNotEnoughStarted,
	MemberBadURLs,
	MemberNotFound,
	MemberNotLearner,
	LearnerNotReady,
	TooManyLearners,
	ClusterIDMismatch,
	RootUserNotExist,
	RootRoleNotExist,
	UserAlreadyExist,
	UserEmpty,
	UserNotFound,
	RoleAlreadyExist,
	RoleNotFound,
	RoleEmpty,
	AuthFailed,
	NoPasswordUser,
	PermissionNotGiven,
	PermissionDenied,
	RoleNotGranted,
	PermissionNotGranted,
	AuthNotEnabled,
	InvalidAuthToken,
	InvalidAuthMgmt,
	AuthOldRevision,
	NoLeader,
	NotLeader,
	LeaderChanged,
	NotCapable,
	Stopped,
	Timeout,
	TimeoutDueToLeaderFail,
	TimeoutDueToConnectionLost,
	TimeoutWaitAppliedIndex,
	TimeoutLeaderTransfer,
	Unhealthy,
	NotSupportedForLearner,
	BadLeaderTransferee,
	ProposalDropped,
	NotPrimaryLessor,
	UnknownMethod,
	WrongDowngradeVersionFormat,
	InvalidDowngradeTargetVersion,
	ClusterVersionUnavailable,
	DowngradeInProcess,
	NoInflightDowngrade,
}

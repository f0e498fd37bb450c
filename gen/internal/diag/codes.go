package diag

// A Code is the stable name of a kind of mistake. It is printed behind the message, and
// flowc help CODE explains it: cmd/flowc/help/codes.md has a section for each.
type Code string

const (
	DoesNotLoad       Code = "does-not-load"
	DoesNotCompile    Code = "does-not-compile"
	MissingDSL        Code = "missing-dsl"
	MissingFlow       Code = "missing-flow"
	NotEmbedded       Code = "not-embedded"
	CopiedFlow        Code = "copied-flow"
	SeveralFlows      Code = "several-flows"
	HiddenFlow        Code = "hidden-flow"
	GenericFlow       Code = "generic-flow"
	IndirectMarker    Code = "indirect-marker"
	JobWithFields     Code = "job-with-fields"
	NoSteps           Code = "no-steps"
	NotAStep          Code = "not-a-step"
	UnnamedStep       Code = "unnamed-step"
	UnexportedStep    Code = "unexported-step"
	ReservedName      Code = "reserved-name"
	BadSlug           Code = "bad-slug"
	LongSlug          Code = "long-slug"
	DuplicateSlug     Code = "duplicate-slug"
	BadPackage        Code = "bad-package"
	DuplicatePackage  Code = "duplicate-package"
	ImportOfGenerated Code = "import-of-generated"
	MalformedTag      Code = "malformed-tag"
	DuplicateTag      Code = "duplicate-tag"
	UnknownTag        Code = "unknown-tag"
	MisplacedTag      Code = "misplaced-tag"
	EmptyTag          Code = "empty-tag"
	BadNumber         Code = "bad-number"
	BadDuration       Code = "bad-duration"
	BadMode           Code = "bad-mode"
	BadPriority       Code = "bad-priority"
	BadTx             Code = "bad-tx"
	BadRate           Code = "bad-rate"
	BadGate           Code = "bad-gate"
	BadCron           Code = "bad-cron"
	CronWithInput     Code = "cron-with-input"
	MissingCondition  Code = "missing-condition"
	MissingKey        Code = "missing-key"
	MissingUnique     Code = "missing-unique"
	MissingDebounce   Code = "missing-debounce"
	ConflictingTags   Code = "conflicting-tags"
	MissingLimit      Code = "missing-limit"
	DifferentLimits   Code = "different-limits"
	ElementKey        Code = "element-key"
	UnknownStep       Code = "unknown-step"
	SelfReference     Code = "self-reference"
	PartOfOutput      Code = "part-of-output"
	AfterInput        Code = "after-input"
	UnusedFrom        Code = "unused-from"
	UnusedWait        Code = "unused-wait"
	GivesNothing      Code = "gives-nothing"
	NoProducer        Code = "no-producer"
	AmbiguousInput    Code = "ambiguous-input"
	TypeMismatch      Code = "type-mismatch"
	MayBeSkipped      Code = "may-be-skipped"
	NeverSkipped      Code = "never-skipped"
	UnexportedField   Code = "unexported-field"
	DuplicateField    Code = "duplicate-field"
	NoMapItem         Code = "no-map-item"
	NotAList          Code = "not-a-list"
	StepCycle         Code = "step-cycle"
	LongChain         Code = "long-chain"
	HiddenType        Code = "hidden-type"
	NotJSON           Code = "not-json"
	BadCondition      Code = "bad-condition"
	ConditionTwice    Code = "condition-twice"
	ConditionSubject  Code = "condition-subject"
	ConditionType     Code = "condition-type"
	ConditionNotJSON  Code = "condition-not-json"
	ConditionNever    Code = "condition-never"
	BadPath           Code = "bad-path"
	PathType          Code = "path-type"
	UnknownField      Code = "unknown-field"
	AmbiguousField    Code = "ambiguous-field"
)

// Codes are all codes, in the order of the help page.
var Codes = []Code{
	DoesNotLoad, DoesNotCompile, MissingDSL, MissingFlow, NotEmbedded, CopiedFlow, SeveralFlows,
	HiddenFlow, GenericFlow, IndirectMarker, JobWithFields, NoSteps, NotAStep, UnnamedStep,
	UnexportedStep, ReservedName, BadSlug, LongSlug, DuplicateSlug, BadPackage, DuplicatePackage,
	ImportOfGenerated, MalformedTag, DuplicateTag, UnknownTag, MisplacedTag, EmptyTag, BadNumber,
	BadDuration, BadMode, BadPriority, BadTx, BadRate, BadGate, BadCron, CronWithInput, MissingCondition, MissingKey,
	MissingUnique, MissingDebounce, ConflictingTags, MissingLimit, DifferentLimits, ElementKey, UnknownStep,
	SelfReference, PartOfOutput, AfterInput, UnusedFrom, UnusedWait, GivesNothing, NoProducer, AmbiguousInput, TypeMismatch,
	MayBeSkipped, NeverSkipped, UnexportedField, DuplicateField, NoMapItem, NotAList, StepCycle,
	LongChain, HiddenType, NotJSON, BadCondition, ConditionTwice, ConditionSubject, ConditionType,
	ConditionNotJSON, ConditionNever, BadPath, PathType, UnknownField, AmbiguousField,
}

package diag

// A Code is the stable name of a kind of mistake, as it is printed. Each has a page:
// flowc help CODE.
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
	BadCron           Code = "bad-cron"
	CronWithInput     Code = "cron-with-input"
	MissingCondition  Code = "missing-condition"
	UnknownStep       Code = "unknown-step"
	SelfReference     Code = "self-reference"
	PartOfOutput      Code = "part-of-output"
	AfterInput        Code = "after-input"
	UnusedFrom        Code = "unused-from"
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
	UnknownField      Code = "unknown-field"
	AmbiguousField    Code = "ambiguous-field"
)

// Codes are all codes, in the order of the help page, with what each stands for in short.
var Codes = []struct {
	Code  Code
	Short string
}{
	{DoesNotLoad, `the go command cannot read the package`},
	{DoesNotCompile, `the compiler rejects a type that a declaration needs`},
	{MissingDSL, `package dsl is not imported, or not by this name`},
	{MissingFlow, `a struct has steps but embeds no dsl.Flow`},
	{NotEmbedded, `dsl.Flow or dsl.Job is not embedded in a struct`},
	{CopiedFlow, `a declaration is made from another one instead of being written out`},
	{SeveralFlows, `a struct embeds dsl.Flow or dsl.Job more than once`},
	{HiddenFlow, `the generated package could not name or import the declaration`},
	{GenericFlow, `a declaration has type parameters`},
	{IndirectMarker, `a type of package dsl is used through a pointer or an alias`},
	{JobWithFields, `a job has fields`},
	{NoSteps, `a flow has no steps`},
	{NotAStep, `a field of a flow is not a step`},
	{UnnamedStep, `a step has no name`},
	{UnexportedStep, `a step's name is not exported`},
	{ReservedName, `a name stands for something else already`},
	{BadSlug, `a slug has characters that the database does not allow`},
	{LongSlug, `a slug is longer than the database allows`},
	{DuplicateSlug, `two flows, or two steps of one, have the same slug`},
	{BadPackage, `the generated package cannot have this name`},
	{DuplicatePackage, `two flows would be generated as the same package`},
	{ImportOfGenerated, `the declaring package imports what is generated from it`},
	{MalformedTag, `a tag is not made of key:"value" pairs`},
	{DuplicateTag, `a key is set twice`},
	{UnknownTag, `a key is none of the language`},
	{MisplacedTag, `a key means nothing in this place`},
	{EmptyTag, `a key has an empty value`},
	{BadNumber, `a value is not a whole number of at least 1`},
	{BadDuration, `a value is not a duration in whole seconds`},
	{BadMode, `a value is not fail, skip or skip-cascade`},
	{BadCron, `a value is not a cron expression`},
	{CronWithInput, `a flow with a schedule takes an input`},
	{MissingCondition, `when_unmet is set and there is no condition`},
	{UnknownStep, `no step has this name`},
	{SelfReference, `a step waits for itself or takes its own output`},
	{PartOfOutput, `a tag names a part of an output where a whole one is meant`},
	{AfterInput, `a step is to wait for the flow's input`},
	{UnusedFrom, `from is set and there is no input`},
	{GivesNothing, `a step that gives nothing is named as a source`},
	{NoProducer, `nothing gives a value of the type`},
	{AmbiguousInput, `several steps give a value of the type`},
	{TypeMismatch, `a source gives another type than is taken`},
	{MayBeSkipped, `a source may be skipped, and its value is taken as always there`},
	{NeverSkipped, `a source always runs, and its value is taken as optional`},
	{UnexportedField, `a field of a join is not exported`},
	{DuplicateField, `two fields of a join take the same output`},
	{NoMapItem, `a map takes dsl.None`},
	{NotAList, `a map runs over something that is not a list`},
	{StepCycle, `steps wait for each other`},
	{LongChain, `more steps in a row than the database follows`},
	{HiddenType, `the generated package could not name a type`},
	{NotJSON, `a type cannot be stored as JSON and read back`},
	{BadCondition, `a condition cannot be read`},
	{ConditionTwice, `a condition compares a field twice`},
	{ConditionSubject, `a condition looks at what the step does not see`},
	{ConditionType, `a condition compares a value with one of another type`},
	{ConditionNotJSON, `a condition looks at a field that is not in the JSON`},
	{ConditionNever, `a condition can never hold`},
	{UnknownField, `a condition names a field that the type does not have`},
	{AmbiguousField, `a condition names a field that several embedded structs have`},
}

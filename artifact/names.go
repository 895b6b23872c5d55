package artifact

// Prefix is where the tree stands in the image, and where it is built, without the
// leading slash. Installed trees run from anywhere.
const Prefix = "opt/ampoule"

// Artifact types of the manifests that Ampoule publishes beside images (image-spec,
// manifest.md, "artifactType").
const (
	// VerdictType is the gate's verdict: one file, [VerdictFile], of the same media type.
	VerdictType = "application/vnd.ampoule.verdict.v1+json"
	// WheelhouseType is every wheel that was installed, each a file of [WheelType].
	WheelhouseType = "application/vnd.ampoule.wheelhouse.v1"
	// DebugType is the debug information that was stripped: files of [LayerType], named by
	// [DebugFile].
	DebugType = "application/vnd.ampoule.debug.v1"
	// SourceType says which commit first-party code is of: one file, [SourceFile], of the
	// same media type.
	SourceType = "application/vnd.ampoule.source.v1+json"
	// SBOMType is the bill of materials: one file, [SBOMFile], of the same media type
	// (CycloneDX 1.6).
	SBOMType = "application/vnd.cyclonedx+json"
	// GroupType is a dependency group that is laid over the artifact: the file [GroupFile], and
	// files of [LayerType]. The group's verdict refers to it in turn.
	GroupType = "application/vnd.ampoule.group.v1"
	// BundleType is a signature or a statement: one file of the same media type, a sigstore
	// bundle (github.com/sigstore/protobuf-specs, protos/sigstore_bundle.proto).
	BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// InputsType is the inputs of one lock, each a file of [InputType]. It refers to
	// nothing: the tag of the build's key names it in the repository [InputsName].
	InputsType = "application/vnd.ampoule.inputs.v1"
	// CacheType is an entry of a cache: a file of [CacheStatementType], and the content that it
	// names, each a file of [CacheContentType] or [CachePackedType] whose title is the
	// content's sha256. It refers to nothing: a tag names it.
	CacheType = "application/vnd.ampoule.cache.v1"
	// ChannelType is the log of a channel: files of [ChannelSegmentType], and then a DSSE
	// envelope each, in the order of their entries. It refers to nothing: the tag [ChannelTag]
	// names it.
	ChannelType = "application/vnd.ampoule.channel.v1"
	// ProbeType is a manifest without content, with which is tried how a registry writes tags. It
	// refers to nothing, and is worth nothing.
	ProbeType = "application/vnd.ampoule.probe.v1"
)

// Media types of content.
const (
	// IndexType and ManifestType are an artifact's, and its images' (image-spec,
	// media-types.md).
	IndexType    = "application/vnd.oci.image.index.v1+json"
	ManifestType = "application/vnd.oci.image.manifest.v1+json"
	// LayerType is a tar, compressed by gzip (image-spec, layer.md).
	LayerType = "application/vnd.oci.image.layer.v1.tar+gzip"
	// EmptyType is the configuration of a manifest that is no image's (image-spec,
	// manifest.md, "Guidance for an Empty Descriptor").
	EmptyType = "application/vnd.oci.empty.v1+json"
	// WheelType is a wheel: a zip archive (PEP 427).
	WheelType = "application/zip"
	// GroupRecordType is a [GroupRecord], as JSON.
	GroupRecordType = "application/vnd.ampoule.group.record.v1+json"
	// TrustRootType is a trust root without its signatures, as JSON: what root keys sign.
	TrustRootType = "application/vnd.ampoule.trust.v1+json"
	// ChannelSegmentType is a thousand entries of a channel's log, each a DSSE envelope in a
	// line that ends with a line feed.
	ChannelSegmentType = "application/vnd.ampoule.channel.segment.v1+jsonl"
	// ChannelRulesType is a channels.yaml without its signatures, as JSON: what root keys sign.
	ChannelRulesType = "application/vnd.ampoule.channel.rules.v1+json"
	// InputType is an input of a build, whatever it is: it is named by its hash.
	InputType = "application/octet-stream"
	// CacheStatementType says what an entry of a cache is, as JSON. [AnnotationSignature] is of
	// its bytes.
	CacheStatementType = "application/vnd.ampoule.cache.statement.v1+json"
	// CacheContentType is content of an entry as it is, CachePackedType compressed by Zstandard
	// (RFC 8878).
	CacheContentType = "application/vnd.ampoule.cache.content.v1"
	CachePackedType  = "application/vnd.ampoule.cache.content.v1+zstd"
)

// Annotations.
const (
	// AnnotationLayer holds a layer's name, at the layer's descriptor in an image's manifest.
	AnnotationLayer = "dev.ampoule.layer"
	// AnnotationKind stands beside it: [KindBase] or [KindTree].
	AnnotationKind = "dev.ampoule.layer.kind"
	// AnnotationGroup holds a dependency group's name, AnnotationGroupKey the key that its
	// build is addressed by, at its manifest.
	AnnotationGroup    = Namespace + "group"
	AnnotationGroupKey = Namespace + "group.key"
	// AnnotationSignature holds the signature of a cache's entry, in base64, at its manifest.
	AnnotationSignature = Namespace + "cache.signature"
	// AnnotationChannel holds a channel's name, at the manifest of its log.
	AnnotationChannel = Namespace + "channel"
	// AnnotationChannelNames holds the digest that the channel names, at the manifest of its log:
	// for registries, which do not read the log. Nobody else believes it.
	AnnotationChannelNames = Namespace + "channel.names"
	// AnnotationChannelCopy holds the channel that a log is a copy of, at the manifest of the copy.
	AnnotationChannelCopy = Namespace + "channel.copy-of"
	// AnnotationTitle holds a file's name, at its descriptor (image-spec, annotations.md).
	AnnotationTitle = "org.opencontainers.image.title"
	// AnnotationRefName holds a tag, in the index of a directory of images (image-spec,
	// image-layout.md, "index.json").
	AnnotationRefName = "org.opencontainers.image.ref.name"
)

// Kinds of layers: of the runtime base, and of the tree.
const (
	KindBase = "base"
	KindTree = "tree"
)

// Files.
const (
	// RecordFile is where a tree says what it is made of, relative to its root. Package
	// audit has its form.
	RecordFile = "share/ampoule/artifact.json"
	// VariablesFile is where a tree says which variables lead libraries to the data that it
	// carries for them, relative to its root: a line of NAME HOW PATH [HOST] each. HOW is
	// "own" (set where it is not), "first" (put before others) or "missing" (set where the
	// host has no file HOST). The interpreter's site module obeys it.
	VariablesFile = "share/ampoule/variables"
	// WheelRecordFile is the file in the .dist-info directory of a wheelhouse's wheel that
	// says what the wheel was built with. Package audit has its form.
	WheelRecordFile = "ampoule.json"
	// VerdictFile is the verdict's.
	VerdictFile = "verdict.json"
	// SourceFile is that of what first-party code is of.
	SourceFile = "source.json"
	// SBOMFile is that of the bill of materials.
	SBOMFile = "sbom.cdx.json"
	// GroupFile is a dependency group's record.
	GroupFile = "group.json"
)

// ChannelSegment is how many entries of a channel's log one file of [ChannelSegmentType] has.
const ChannelSegment = 1000

// DebugFile names the file that holds the debug information of something.
func DebugFile(of string) string { return of + ".debug.tar.gz" }

// InputsName is the repository of inputs, below a registry's prefix: one for all
// recipes, since they share most of them.
const InputsName = "inputs"

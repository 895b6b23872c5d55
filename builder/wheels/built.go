package wheels

import (
	"encoding/json"
	"fmt"

	"ampoule/packaging"
	"ampoule/store"
)

// Built are the wheels that a store remembers to have built, as sha256, by NAME==VERSION. If
// there are several of a release, built differently, one of them is given.
func Built(st *store.Store) (map[string]string, error) {
	built := map[string]string{}
	err := st.Records("wheel", func(_ string, value json.RawMessage) error {
		var r record
		if err := json.Unmarshal(value, &r); err != nil {
			return nil //nolint:nilerr // a record of another form says nothing, and building makes it anew
		}
		name, err := packaging.ParseWheelName(r.File)
		if err != nil || !st.Has(r.SHA256) {
			return nil //nolint:nilerr // as above
		}
		id := packaging.NormalName(name.Distribution) + "==" + name.Version
		if first, several := built[id]; !several || r.SHA256 < first {
			built[id] = r.SHA256
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for wheels that were built: %w", err)
	}
	return built, nil
}

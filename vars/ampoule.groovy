/**
 * A step of a Jenkins shared library: finds or builds the artifact of a recipe, and runs tests
 * inside it. The program ampoule has to be in PATH. Returns the artifact's reference.
 *
 *   ampoule(recipe: 'ampoule.yaml', registry: 'registry.example/team', groups: 'test',
 *           command: 'python3 -m pytest --junitxml=report.xml', junit: 'report.xml')
 */
def call(Map options = [:]) {
    withEnv([
        "RECIPE=${options.recipe ?: 'ampoule.yaml'}",
        "REGISTRY=${options.registry ?: ''}",
        "WITH=${options.groups ?: ''}",
        "COMMAND=${options.command ?: ''}",
        "JUNIT=${options.junit ?: ''}",
    ]) {
        sh label: 'ampoule ci', script: '''
            set -efu
            ampoule -f "$RECIPE" ci check
            ampoule -f "$RECIPE" --registry "$REGISTRY" ci build
            set -- --record ampoule-tested.json
            for group in $WITH; do set -- "$@" --group "$group"; done
            [ -z "$JUNIT" ] || set -- "$@" --junit "$JUNIT"
            [ -z "$COMMAND" ] || set -- "$@" -- $COMMAND
            ampoule -f "$RECIPE" --registry "$REGISTRY" ci run "$@"
        '''
        return sh(label: 'ampoule: the reference', returnStdout: true, script: '''
            sed -n 's/^AMPOULE_REF=//p' "$WORKSPACE/ampoule.env"
        ''').trim()
    }
}

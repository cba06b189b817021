"""The house over HTTP: thin routes that parse, call the house and render.

`api.server.serve(open_house, settings, on_ready=...)` runs it; `api.app.create_app(house, settings)` is the ASGI
application alone. Bodies are JSON in UTF-8, in and out. Types named below are the structs of `embedhouse.domain`,
encoded by msgspec with every field. Fields marked `?` may be left out. Unknown fields are refused (400), except
under `/v1`. `{id}` is a document's id percent-encoded as one path segment (`quote(id, safe="")`): slashes,
quotes and anything else survive.

    GET    /health                                 200 {"status": "ok"}: at once, open to all, never limited
    GET    /ready                                  200 or 503 {"ready": bool, "reason": str}
    GET    /status                                 200 HouseStatus, `server` is this server's URL
    GET    /openapi.json, GET /                    the OpenAPI document; the page to try it

    POST   /embed            {text? | texts?, role?, granularity?, model?, dimensions?, precision?, collection?}
                                                   200 Embedded
    POST   /similarity       {a: [str], b: [str], role?, model?, precision?, collection?}
                                                   200 {"similarities": [[float]], "space"}: a row for each of `a`
    GET    /models                                 200 {"models": [ModelInfo]}
    POST   /models/unfreeze  {model, accept?}      200 {"spaces": [SpaceInfo]}
    GET    /usage            ?by=day|provider|collection|caller|model&since=&until=&collection=&provider=&caller=
                                                   200 UsageReport

    GET    /search           ?collection=&q=&k=&mode=&filter=JSON&documents=&explain=      200 SearchResult
    POST   /search           {collection, text, k?, mode?, fusion?: FusionSettings, filter?, documents?, explain?}
                                                   200 SearchResult
    POST   /collections/{name}/more-like           {document_id, k?, filter?, documents?}  200 SearchResult
    POST   /collections/{name}/recommend           {liked: [id], disliked?: [id], k?, filter?}  200 SearchResult
    GET    /collections/{name}/near-duplicates     ?threshold=&limit=  200 {"pairs": [SimilarPair]}

    GET    /collections                            200 {"collections": [CollectionInfo]}
    POST   /collections                            {name, model?, precision?, dimensions?, prompts?, chunking?,
                                                   lexical?, exist_ok?}
                                                   201 CollectionInfo; `exist_ok` is the house's `ensure`
    GET    /collections/{name}                     200 CollectionInfo
    DELETE /collections/{name}                     204
    POST   /collections/{name}/compact             200 stream, as of `index`, ending in {"report": CollectionInfo}

    POST   /collections/{name}/documents           {documents: [Document], wait?: "indexed"|"accepted"}
                                                   200 WriteReport; what cannot be read is in its `failures`
    GET    /collections/{name}/documents           ?limit=&after=&filter=JSON&text=bool  200 DocumentPage
    GET    /collections/{name}/documents/{id}      200 DocumentView
    PATCH  /collections/{name}/documents/{id}      {metadata, replace?}  200 DocumentView (without its text)
    DELETE /collections/{name}/documents/{id}      200 {"deleted": 1}
    POST   /collections/{name}/delete-documents    {ids?: [id], filter?}  200 {"deleted": int}
    GET    /collections/{name}/vectors/{id}        ?kind=mean|centroid  200 {"vector": [float], "space"}

    POST   /collections/{name}/index               {paths: [absolute path], read?: ReadSettings,
                                                   create?: CollectionOptions, prune?}: files on the server's
                                                   machine, so from callers on this machine only.
                                                   200 stream of JSON lines: {"progress": Progress} any number of
                                                   times, then {"report": IndexReport} or {"error": {...}}.
                                                   Closing the connection stops it; the next run resumes.
    POST   /collections/{name}/index-plan          the same body; the stream ends in {"report": IndexPlan}: what
                                                   `index` would do and cost. Nothing is written or embedded

    POST   /v1/embeddings, GET /v1/models, GET /v1/models/{id}      as OpenAI's, errors included; embeddings name
                                                   their space in the header X-Embedhouse-Space

Every error is `{"error": {"code", "message", "fields"}}` with the status of `domain/error_status.py`: `code` is the
error's class (`EmbedhouseError.code`), `fields` what it was made with. Once there is an API key, in the settings
or a named one, every route but `/health`, `/ready` and the page needs `Authorization: Bearer KEY` or
`X-Api-Key: KEY`. Each response has a `Server-Timing` header in milliseconds, and its id in the ledger of spend as
`X-Request-Id`.
"""
